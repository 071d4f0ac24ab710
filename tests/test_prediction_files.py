import json
from pathlib import Path

import pytest
import torch

from yolact.errors import UserError
from yolact.ops.regions import MaskRegion
from yolact.prediction_files import Results
from yolact.structures import Instances


@pytest.mark.parametrize("name", ["predictions.json.tmp", "predictions.csv"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    message = r"could not be written \(No space left on device\); make room or give another"
    with pytest.raises(UserError, match=message), Results(tmp_path, table=True):
        pass


def test_a_file_in_the_way_of_the_table_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").mkdir()
    with pytest.raises(UserError, match=r"could not be written \(Is a directory\)"):
        Results(tmp_path, table=True)


def test_results_without_objects_are_an_empty_list_and_a_head(tmp_path: Path) -> None:
    with Results(tmp_path, table=True):
        pass
    assert json.loads((tmp_path / "predictions.json").read_text()) == []
    assert (tmp_path / "predictions.csv").read_text().startswith("file,frame,number,class")
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.json", "predictions.csv"}


def test_a_file_name_of_bytes_that_are_not_text_is_written_as_json_escapes_it(tmp_path: Path) -> None:
    one = torch.tensor([0.5])
    found = Instances(
        torch.tensor([[0.0, 0, 2, 2]]), one, torch.tensor([0]), [MaskRegion(0, 0, 0, 0, b"")], one, (4, 4), ["a"], [1]
    )
    with Results(tmp_path, table=True) as results:
        results.add(found, 1, "\udcff.jpg", "stem", None, None)
    (record,) = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert record["file_name"] == "\udcff.jpg"
    assert "\\udcff.jpg,,0,a" in (tmp_path / "predictions.csv").read_text(encoding="utf-8")
