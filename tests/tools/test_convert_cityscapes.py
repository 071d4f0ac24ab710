import numpy as np
import pytest

from tests.tools.convert_sources import HEIGHT, WIDTH, block, load, names_of, write_image, write_mask
from yolact.errors import DatasetError
from yolact.tools.convert.cityscapes import read_cityscapes
from yolact.tools.convert.writing import write_conversion

PERSON, GROUP, CAR = block(0, 0, 9, 9), block(10, 0, 30, 9), block(0, 20, 40, 40)


def write(folder, split, city, numbers, kind="gtFine"):
    name = f"{split}/{city}/{city}_000000_000019"
    write_image(folder / "leftImg8bit" / f"{name}_leftImg8bit.png")
    write_mask(folder / kind / f"{name}_{kind}_instanceIds.png", numbers.astype(np.uint16))
    write_mask(folder / kind / f"{name}_{kind}_labelIds.png", numbers.astype(np.uint8))


def test_as_it_is_downloaded(tmp_path):
    """Numbers below 1000 are several objects of a class; test images have no objects."""
    source = tmp_path / "source"
    write(source, "train", "aachen", PERSON * 24_000 + GROUP * 24 + CAR * 26_011 + block(50, 0, 60, 40) * 7)
    write(source, "val", "ulm", CAR * 33_002)
    write(source, "test", "berlin", block(0, 0, 60, 40) * 3)
    write_image(source / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png")
    conversion = read_cityscapes(source)
    folder = "leftImg8bit/{0}/{1}/{1}_000000_000019_leftImg8bit.png"
    assert names_of(conversion) == {"train": [folder.format("train", "aachen")], "val": [folder.format("val", "ulm")]}
    assert conversion.counts == {
        "images without instanceIds, left out": 1,
        "areas of several objects without a number, taken as crowd regions": 1,
        "areas of classes that Cityscapes does not score as objects, passed over": 2,
        "test images without objects, left out, as Cityscapes keeps their labels to itself": 1,
    }
    assert [item.annotation["iscrowd"] for item in conversion.splits["train"][0].objects] == [1, 0, 0]
    train, val = write_conversion(conversion, tmp_path / "out", True)
    names, masks = zip(*next(iter(load(train.annotations, train.folder).values())), strict=True)
    assert names == ("person", "person", "car")
    np.testing.assert_array_equal(masks, [GROUP, PERSON, CAR])
    [[(name, mask)]] = load(val.annotations, val.folder).values()
    assert name == "bicycle"
    np.testing.assert_array_equal(mask, CAR)


def test_coarse_labels(tmp_path):
    """Those of train_extra are for training; where both kinds are there, the fine ones are taken."""
    write(tmp_path, "train_extra", "bonn", CAR * 26_001, "gtCoarse")
    for kind, numbers in (("gtFine", CAR * 26_001 + PERSON * 24_001), ("gtCoarse", CAR * 26_001)):
        write(tmp_path, "train", "aachen", numbers, kind)
    assert [len(image.objects) for image in read_cityscapes(tmp_path).splits["train"]] == [2, 1]


def test_files_that_do_not_fit_together(tmp_path):
    write(tmp_path, "train", "aachen", np.zeros((HEIGHT, WIDTH + 1)))
    with pytest.raises(DatasetError, match=r"None of 1 images .*is uint16 of shape \(40, 61\), expected whole numbers"):
        read_cityscapes(tmp_path)
    with pytest.raises(DatasetError, match="There are no images"):
        read_cityscapes(tmp_path / "gtFine")


@pytest.mark.parametrize("colour", ["", "0 0 {0}"])
def test_classes_of_ones_own(tmp_path, colour):
    """As CVAT and datumaro write them."""
    write(tmp_path, "train", "a", CAR * 26_001 + PERSON * 1_001)
    names = ["background", "traffic light", *map(str, range(2, 26)), "cup"]
    (tmp_path / "label_colors.txt").write_text("".join(f"{colour.format(k)} {name}\n" for k, name in enumerate(names)))
    conversion = read_cityscapes(tmp_path)
    assert [item.class_name for item in conversion.splits["train"][0].objects] == ["traffic light", "cup"]
    assert list(conversion.class_names.values()) == names[1:]
