"""Opening the picture files of a set."""

import cv2
import pytest

from yolact.inspection.check import sources_of
from yolact.inspection.entries import read_set
from yolact.inspection.files import inspect_files


def inspect(data_set):
    inspected = read_set(*sources_of(data_set.write())[0])
    facts = inspect_files(inspected)
    return inspected.findings.by_kind, facts


def encoded(suffix: str, picture, *options: int) -> bytes:
    return cv2.imencode(suffix, picture, options)[1].tobytes()


@pytest.mark.parametrize(
    ("suffix", "keep", "kind"),
    [
        (".jpg", 0.02, "truncated-picture"),  # within the header
        (".jpg", 0.5, "truncated-picture"),
        (".jpg", 0.999, "truncated-picture"),
        (".png", 0.5, "truncated-picture"),
        (".webp", 0.5, "truncated-picture"),
        (".bmp", 0.5, "unreadable-picture"),  # nobody can tell
        (".jpg", 0, "unreadable-picture"),
    ],
)
def test_files_that_end_too_early(clean, suffix, keep, kind) -> None:
    path = clean.folder / "train/1.jpg"
    data = encoded(suffix, cv2.imread(str(path)))
    path.write_bytes(data[: int(len(data) * keep)])
    found, _ = inspect(clean)
    assert list(found) == [kind]


def test_the_same_pixels_in_another_file_are_a_duplicate(clean) -> None:
    picture = cv2.imread(str(clean.folder / "train/1.jpg"))
    for number, level in ((1, 1), (2, 9)):
        path = clean.folder / f"train/{number}.jpg"
        path.write_bytes(encoded(".png", picture, cv2.IMWRITE_PNG_COMPRESSION, level))
    assert (clean.folder / "train/1.jpg").read_bytes() != (clean.folder / "train/2.jpg").read_bytes()
    found, _ = inspect(clean)
    assert list(found) == ["duplicate-picture"]
    assert found["duplicate-picture"].examples[0].picture == "2.jpg"


def test_equal_bytes_that_cannot_be_decoded_are_duplicates_too(clean) -> None:
    for number in (1, 2, 3):
        (clean.folder / f"train/{number}.jpg").write_bytes(b"broken")
    found, _ = inspect(clean)
    assert {kind: finding.count for kind, finding in found.items()} == {"unreadable-picture": 3, "duplicate-picture": 2}


@pytest.mark.parametrize("name", ["a\0b.jpg", "\ud800.jpg", "n" * 300 + ".jpg", "", "."])
def test_impossible_names_are_missing_files_or_refused(clean, name) -> None:
    clean.train["images"][0]["file_name"] = name
    found, _ = inspect(clean)
    assert set(found) <= {"missing-picture", "invalid-field"}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("orientation", "size", "note"),
    [
        (6, (80, 60), "read turned, because the JSON has the turned size"),
        (6, (60, 80), "read as stored, because the JSON has the stored size"),
        (3, (60, 80), "the size does not tell"),
        (1, (60, 80), None),
    ],
)
def test_turned_pictures_say_how_they_are_read(clean, planted_exif, orientation, size, note) -> None:
    path = clean.folder / "train/12.jpg"
    path.write_bytes(planted_exif(path.read_bytes(), orientation))
    clean.train["images"][11].update(height=size[0], width=size[1])
    clean.train["annotations"] = clean.train["annotations"][:-2]
    found, facts = inspect(clean)
    assert facts[11].orientation == orientation
    assert facts[11].kind is None
    assert list(found) == ([] if note is None else ["exif-rotation"])
    if note is not None:
        assert note in found["exif-rotation"].examples[0].note
