from yolact.data.categories import COCO_CATEGORY_IDS, COCO_CLASSES, VOC_CLASSES, Categories


def test_labels_follow_the_order_of_the_ids() -> None:
    categories = Categories(names=["dog", "cow", "cat"], ids=[7, 20, 42])
    assert len(categories) == 3
    assert [categories.label(category_id) for category_id in (7, 20, 42)] == [0, 1, 2]


def test_public_data_sets_have_as_many_classes_as_their_papers_say() -> None:
    assert (len(COCO_CLASSES), len(COCO_CATEGORY_IDS), len(VOC_CLASSES)) == (80, 80, 20)
    assert list(COCO_CATEGORY_IDS) == sorted(set(COCO_CATEGORY_IDS))
    assert dict(zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True))[90] == "toothbrush"
