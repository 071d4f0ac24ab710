import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.convert_sources import HEIGHT, WIDTH, block, converted, drawn, write_image
from yolact.errors import DatasetError
from yolact.tools.convert.brush import decode_rle
from yolact.tools.convert.labelstudio import read_labelstudio

RING = block(5, 5, 25, 25) & ~block(10, 10, 15, 20)


def encode_rle(mask, lengths=(3, 4, 8, 16), literal=3):
    """Return Label Studio's bytes of a mask; runs of fewer than `literal` values stand as they are."""
    values = np.repeat(mask.ravel(), 4) * 255
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{length - 1:04b}" for length in lengths)
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), values.size], strict=True):
        while start < end:
            count = min(end - start, 2 ** max(lengths))
            choice = next(index for index, length in enumerate(lengths) if count <= 2**length)
            own = values[start : start + 1] if count >= literal else values[start : start + count]
            words = "".join(f"{value:08b}" for value in own)
            bits += f"{int(count >= literal)}{choice:02b}{count - 1:0{lengths[choice]}b}{words}"
            start += count
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def region(kind="polygonlabels", label="cat", **value):
    """Return a result; points in percent."""
    labels = {kind if kind.endswith("labels") else "labels": [label]} if label else {}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"type": kind, "value": {**value, **labels}, **size}


SQUARE = region(points=[[10, 10], [50, 10], [50, 60], [10, 60]])


def task(*results, image="/data/upload/1/a.png", **more):
    return {"id": 7, "data": {"image": image}, "annotations": [{"id": 1, "result": list(results)}], **more}


def write(folder, *tasks, images=("a.png",)):
    for name in images:
        write_image(folder / name)
    (folder / "export.json").write_text(json.dumps(tasks))
    return folder


def test_run_lengths_by_hand():
    """Of 1 x 2 pixels, the second one opaque: 8 words of 8 bits, lengths of 3 bits, two runs of 4."""

    def pack(bits):
        bits = bits.replace(" ", "")
        return [0, 0, 0, 8, *(int(bits[at : at + 8], 2) for at in range(0, 56, 8))]

    values = pack("00111 0010 0010 0010 0010 1 00 011 00000000 1 00 011 11111111 0000000")
    assert values[4:] == [57, 17, 20, 96, 17, 255, 128]
    faint = pack("00111 0010 0010 0010 0010 1 00 011 00000000 1 00 011 00000001 0000000")
    for found in (values, faint):  # whatever is not wholly transparent
        assert decode_rle(found, (1, 2), "x").tolist() == [[False, True]]
    for wrong, why in (
        (values[:-2], "ends too early"),
        ([0, 0, 0, 12, *values[4:]], "12 values of 8 bits, expected 4 of 8 bits .* 2 x 1 pixels, 8;"),
        (pack("00111 0010 0010 0010 0010 1 00 011 00000000 1 00 111 11111111 0000000"), "more than 8 values"),
        ([256], "must be a list of bytes"),
        ("AAAA", "must be a list of bytes"),
    ):
        with pytest.raises(DatasetError, match=why):
            decode_rle(wrong, (1, 2), "x")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(3, 4, 8, 16), (1, 2, 3, 9), (16, 1, 1, 1)]), st.integers(1, 50))
def test_run_lengths_of_any_mask(seed, lengths, literal):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 30, 2)) < rng.random()
    np.testing.assert_array_equal(decode_rle(encode_rle(mask, lengths, literal), mask.shape, "x"), mask)


def test_regions_by_hand(tmp_path):
    ellipse = region("ellipselabels", x=50, y=50, radiusX=10, radiusY=25, rotation=90)  # 6 x 10 pixels, lying
    rectangle = region("rectanglelabels", "dog", x=50, y=50, width=20, height=10, rotation=90)  # 12 x 4 pixels
    brush = region("brushlabels", "dog", format="rle", rle=encode_rle(RING))
    write(tmp_path / "source", task(SQUARE, rectangle, brush, ellipse))
    conversion = read_labelstudio(tmp_path / "source")
    assert conversion.counts == {"rectangles, taken as objects that fill them": 1}
    names, masks = zip(*converted(conversion, tmp_path / "out")["a.png"], strict=True)
    assert names == ("cat", "dog", "dog", "cat")
    np.testing.assert_array_equal(masks[:3], [block(6, 4, 30, 24), block(26, 20, 30, 32), RING])
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot((columns - 30) / 10, (rows - 20) / 6)
    assert masks[3][distance < 0.85].all()
    assert not masks[3][distance > 1.15].any()


def test_polygons_keep_their_coordinates(tmp_path):
    points = [[1.6666666, 2.5], [15.4166666, 2.5], [15, 18.75]]
    write(tmp_path / "source", task(region(points=points)))
    [(_, mask)] = converted(read_labelstudio(tmp_path / "source"), tmp_path / "out")["a.png"]
    np.testing.assert_array_equal(mask, drawn([1, 1, 9.25, 1, 9, 7.5]))


def test_a_region_of_several_results_is_one(tmp_path):
    """With a brush and labels of their own, the outline stands without the label, and again with it."""
    rle = encode_rle(RING)
    parts = [region("brush", "", rle=rle), region("labels", "cat", rle=rle), region("choices", "", choices=["new"])]
    results = [{**part, "id": "r1"} for part in parts]
    write(tmp_path / "source", task(*results, region("choices", "", choices=["x"]), region("brush", "", rle=rle)))
    conversion = read_labelstudio(tmp_path / "source")
    [(name, mask)] = converted(conversion, tmp_path / "out")["a.png"]
    assert name == "cat"
    np.testing.assert_array_equal(mask, RING)
    assert conversion.counts == {
        "results of the kind 'choices', which have no area, passed over": 1,
        "regions without a label, passed over": 1,
    }


@pytest.mark.parametrize("image", [
    "/data/upload/1/0a1b2c3d-a%20b.png", "/data/local-files/?d=photos%2Fa%20b.png", "s3://bucket/x/a b.png",
    "https://host/x/a%20b.png?X-Signature=0", "C:\\photos\\a b.png",
])  # fmt: skip
def test_addresses_of_images(tmp_path, image):
    write(tmp_path, task(SQUARE, image=image), images=["photos/a b.png"])
    assert [found.name for found in read_labelstudio(tmp_path / "export.json").splits[""]] == ["photos/a b.png"]


def test_images_that_are_missing_or_ambiguous_are_named(tmp_path):
    tasks = [task(SQUARE, image=f"s3://x/{name}") for name in ("gone.png", "twice.png", "one/deep.png")]
    images = ["a/twice.png", "b/twice.png", "one/deep.png", "two/deep.png"]
    conversion = read_labelstudio(write(tmp_path, *tasks, images=images))
    assert [image.name for image in conversion.splits[""]] == ["one/deep.png"]
    gone, twice = conversion.left_out
    assert "'/gone.png' of task 7 (entry 0)" in gone
    assert "no file has that name" in gone
    assert "2 files fit it, a/twice.png and b/twice.png" in twice
    assert conversion.counts == {"images without a task that can be used, left out": 3}


def test_which_annotation_is_taken_is_said(tmp_path):
    other, cancelled = {"result": [SQUARE, SQUARE]}, {"result": [SQUARE], "was_cancelled": True}
    first, second, third = task(SQUARE), task(image="b.png"), task(image="c.png")
    first["annotations"] = [cancelled, *first["annotations"], other]
    first["predictions"] = [other, other]
    third["annotations"] = []
    write(tmp_path, first, second, third, images=["a.png", "b.png", "c.png"])
    conversion = read_labelstudio(tmp_path)
    assert [(image.name, len(image.objects)) for image in conversion.splits[""]] == [("a.png", 1), ("b.png", 0)]
    assert conversion.counts == {
        "cancelled annotations, passed over": 1,
        "annotations of a task after its first one, passed over": 1,
        "predictions, which nobody confirmed, passed over": 2,
        "tasks without an annotation, left out": 1,
        "images without a task that can be used, left out": 1,
    }


@pytest.mark.parametrize(("wrong", "why"), [
    (region(points=[[1, float("nan")], [2, 2], [3, 3]]), "'points' of result 1"),
    (region(points=[[1, 1], [2, 2]]), "'points' of result 1 of task 7"),
    (region("brushlabels", rle=[0, 0, 0]), "ends too early"),
    (region("ellipselabels", x=1, y=1, radiusX="2", radiusY=1), "'x, y, radiusX, radiusY' of result 1"),
    (region("bitmasklabels", imageDataURL="data:image/png;base64,"), "is a bitmask, which is not read"),
    ({**SQUARE, "image_rotation": 90}, "turned in the tool"),
    (region(points=SQUARE["value"]["points"], label="a\nb"), "must be text without control"),
])  # fmt: skip
def test_a_wrong_region_leaves_the_others(tmp_path, wrong, why):
    conversion = read_labelstudio(write(tmp_path, task(SQUARE, wrong)))
    assert len(conversion.splits[""][0].objects) == 1
    assert len(conversion.faults) == 1
    assert why in conversion.faults[0]
    with pytest.raises(DatasetError, match="None of 1 images can be used"):
        read_labelstudio(write(tmp_path, task(wrong)))


def test_the_short_form_and_a_single_task(tmp_path):
    short = {"image": "/data/upload/1/a.png", "id": 1, "annotator": 1, "annotation_id": 2, "label": [
        {**SQUARE["value"], "original_width": WIDTH, "original_height": HEIGHT},
    ]}  # fmt: skip
    [image] = read_labelstudio(write(tmp_path, short)).splits[""]
    assert image.objects[0].annotation["area"] == 480
    (tmp_path / "export.json").write_text(json.dumps(task(SQUARE)))
    assert read_labelstudio(tmp_path).splits[""] == [image]


def test_an_id_that_is_given_twice_and_further_images(tmp_path):
    square = {"type": "polygonlabels", "id": "same", "original_width": WIDTH, "original_height": HEIGHT}
    values = [{"points": [[x, 10], [x + 20, 10], [x + 20, 50]], "polygonlabels": ["cat"]} for x in (10, 50, 70)]
    results = [{**square, "value": value} for value in values]
    results[2]["item_index"] = 1
    write_image(tmp_path / "a.png")
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": results}]}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    conversion = read_labelstudio(tmp_path)
    [[image]] = conversion.splits.values()
    assert len(image.objects) == 2
    assert conversion.counts == {"regions of a task's images after its first one, passed over": 1}
