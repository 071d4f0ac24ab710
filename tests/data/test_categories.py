import pytest

from yolact.data.categories import Categories


def test_labels_follow_the_order_of_the_ids() -> None:
    categories = Categories(names=["dog", "cow", "cat"], ids=[7, 20, 42])
    assert len(categories) == 3
    assert [categories.label(category_id) for category_id in (7, 20, 42)] == [0, 1, 2]


def test_unknown_id() -> None:
    with pytest.raises(KeyError):
        Categories(names=["dog"], ids=[7]).label(1)
