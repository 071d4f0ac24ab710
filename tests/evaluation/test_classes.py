from pathlib import Path

import pytest

from yolact.data.categories import Categories
from yolact.errors import CheckpointError
from yolact.evaluation.classes import check_classes

WEIGHTS = Path("model.pth")


def test_the_same_classes_pass_and_without_names_the_ids_decide(dataset) -> None:
    check_classes(Categories(["disc", "square"], [3, 7]), True, dataset, WEIGHTS)
    check_classes(Categories(["class 1", "class 2"], [3, 7]), False, dataset, WEIGHTS)
    with pytest.raises(CheckpointError, match=r"annotations\.json"):
        check_classes(Categories(["class 1", "class 2"], [1, 2]), False, dataset, WEIGHTS)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (Categories(["a", "b"], [3, 7]), "2 classes .only there: 'a', 'b'., the file has 2 .only there: 'disc', 'sq"),
        (Categories(["disc", "square"], [3, 8]), "the same.*'square' is 8 in the checkpoint and 7 in the file"),
        (Categories(["disc", "square"], [7, 3]), "'disc' is 7 in the checkpoint and 3 in the file"),
        (Categories(["disc"], [3]), "the checkpoint has 1 classes, the file has 2 .only there: 'square'."),
        (Categories([*"abcd", "disc", "square"], [*range(6)]), "6 classes .only there: 'a', 'b', 'c', ....,"),
    ],
)
def test_the_difference_is_named(dataset, own, message) -> None:
    with pytest.raises(CheckpointError, match=rf"^The classes of 'model.pth'.*{message}"):
        check_classes(own, True, dataset, WEIGHTS)
