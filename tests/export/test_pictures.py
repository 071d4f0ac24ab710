"""Pictures to compare on."""

import cv2
import numpy as np
import pytest

from yolact.errors import DatasetError, UserError
from yolact.export.pictures import generated_pictures, read_pictures


def test_generated_pictures_are_always_the_same_and_not_flat():
    first, second = generated_pictures(200), generated_pictures(200)
    assert len(first) == 6
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == np.uint8
        assert one.ndim == 3
        assert min(one.shape[:2]) >= 150
        assert one.std() > 5


def test_a_folder_gives_its_first_ten_pictures_by_name(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "00.txt").write_text("no picture")
    assert [int(picture[0, 0, 0]) for picture in read_pictures([tmp_path])] == list(range(10))
    assert [int(picture[0, 0, 0]) for picture in read_pictures([tmp_path / "11.png"])] == [11]


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        read_pictures([tmp_path])
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match=r"Cannot decode the picture .*a\.jpg"):
        read_pictures([tmp_path])
    with pytest.raises(DatasetError, match="Cannot read the picture"):
        read_pictures([tmp_path / "b.jpg"])
