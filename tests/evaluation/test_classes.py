from pathlib import Path

import pytest

from yolact.data import CocoDataset
from yolact.data.categories import Categories
from yolact.errors import CheckpointError
from yolact.evaluation.classes import check_classes

OWN = Categories(["disc", "square"], [3, 7])
WEIGHTS = Path("model.pth")


@pytest.fixture
def dataset(sample_data: Path) -> CocoDataset:
    return CocoDataset(sample_data / "annotations.json", sample_data / "pictures")


def test_the_same_classes_pass(dataset: CocoDataset) -> None:
    check_classes(OWN, True, dataset, WEIGHTS)


def test_a_checkpoint_without_names_is_judged_by_its_ids(dataset: CocoDataset) -> None:
    nameless = Categories(["class 1", "class 2"], [3, 7])
    check_classes(nameless, False, dataset, WEIGHTS)
    with pytest.raises(CheckpointError, match=r"2 classes .only there: 'class 1', 'class 2'., the file has 2 .only"):
        check_classes(nameless, True, dataset, WEIGHTS)
    with pytest.raises(CheckpointError, match=r"annotations\.json"):
        check_classes(Categories(["class 1", "class 2"], [1, 2]), False, dataset, WEIGHTS)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (Categories(["disc", "square"], [3, 8]), "'square' is 8 in the checkpoint and 7 in the file"),
        (Categories(["disc"], [3]), "the checkpoint has 1 classes, the file has 2 .only there: 'square'."),
        (Categories([*"abcd", "disc", "square"], [*range(6)]), "6 classes .only there: 'a', 'b', 'c', ....,"),
    ],
)
def test_the_difference_is_named(dataset: CocoDataset, own: Categories, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^The classes of 'model.pth'.*{message}"):
        check_classes(own, True, dataset, WEIGHTS)
