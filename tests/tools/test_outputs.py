import json
from pathlib import Path

import pytest

from yolact.errors import UserError
from yolact.tools.outputs import mask_of, name_outputs, note, remove_earlier, require_free


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/cat.jpg", "b/dog.png"], ["cat", "dog"]),
        (["x.jpg", "x.png"], ["x_jpg", "x_png"]),
        (["a/img.jpg", "b/img.jpg", "c/img_2.jpg"], ["a_img_jpg", "b_img_jpg", "img_2"]),
        (["d/x.png", "X.png", "d/x_png.png"], ["d_x_png", "X_png_2", "x_png"]),  # where case does not count
        (["x_png.png", "x.png", "x.jpg"], ["x_png", "x_png_2", "x_jpg"]),
        (["\u00e9.png", "e\u0301.jpg"], ["\u00e9_png", "e\u0301_jpg"]),
        (["a_prototypes.png", "a.png"], ["a_prototypes", "a_2"]),
        (["n" * 250 + ".png", "n" * 249 + ".png"], ["n" * 120, "n" * 120 + "_2"]),
        (["\u7ec6" * 80 + ".png"], ["\u7ec6" * 40]),
        ([], []),
    ],
)
def test_names_never_meet(paths: list[str], expected: list[str]) -> None:
    assert name_outputs([Path(path) for path in paths]) == expected


def test_a_mask_says_whose_it_is() -> None:
    assert mask_of("a", 0, "001_traffic light") == "masks/a_000_001-traffic-light.png"
    assert mask_of("a_000", 1, "traffic light") == "masks/a_000_001_traffic-light.png"
    assert len(mask_of("n" * 120, 1000, "\u7ec6" * 300).encode()) < 240


@pytest.mark.parametrize(
    "line",
    ['{"output": "../outside.png"}', '{"output": "/outside.png"}', '{"output": "masks/../../outside.png"}',
     '{"output": "other/a.png"}', '{"output": ".."}', '{"output": ""}', '{"output": 3}', "[]", "no", "[" * 100_000],
)  # fmt: skip
def test_a_record_that_names_other_files_removes_nothing(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "found"
    (folder / "other").mkdir(parents=True)
    kept = [tmp_path / "outside.png", folder / "a.png", folder / "other" / "a.png"]
    for path in kept:
        path.write_text("mine")
    note(folder, "a.jpg", ["a.png"])
    with (folder / "outputs.jsonl").open("a") as file:
        file.write(line + "\n")
    for action in (lambda: require_free(folder, [], True), lambda: remove_earlier(folder)):
        with pytest.raises(UserError, match=r"outputs\.jsonl' is damaged, so that nothing is removed"):
            action()
    assert all(path.exists() for path in kept)


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    note(tmp_path, "a.jpg", ["a.jpg", "masks/a_000_cat.png"])
    (tmp_path / "a.jpg").write_text("the mask was not written any more")
    (tmp_path / "predictions.json.tmp").write_text("[")
    with (tmp_path / "outputs.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": "b.jpg"})[:9])
    remove_earlier(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_folder_with_images_or_foreign_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    require_free(tmp_path / "new", [tmp_path / "a.png"], False)
    with pytest.raises(UserError, match=r"beside '.*a\.png'"):
        require_free(tmp_path, [tmp_path / "a.png"], True)
    (tmp_path / "predictions.json").touch()
    with pytest.raises(UserError, match="empty the folder"):
        require_free(tmp_path, [], True)
