import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from yolact.data.categories import Categories
from yolact.errors import CheckpointError
from yolact.evaluation.coco import SUMMARY_KEYS, compute_metrics
from yolact.evaluation.run import NMS_KINDS, check_classes, compare_nms, evaluate
from yolact.loaded import load_model
from yolact.postprocess import Detector
from yolact.runtimes.pytorch import PyTorchRuntime

STAGES = ["load", "network", "detect", "masks", "encode"]


@pytest.fixture
def model(sample_checkpoint):
    return load_model(sample_checkpoint).model


def test_metrics_hold_what_metrics_json_promises(model, dataset, sample_config) -> None:
    result = evaluate(PyTorchRuntime(model), dataset, sample_config.eval, progress=False)
    metrics = result.metrics
    assert set(metrics) == {
        "segm", "bbox", "per_class", "fps", "milliseconds", "annotations", "images", "batch_size", "nms",
        "flips", "tiles", "max_detections", "device", "runtime", "dtype", "processes", "versions",
    }  # fmt: skip
    assert tuple(metrics["segm"]) == tuple(metrics["bbox"]) == SUMMARY_KEYS
    assert metrics["per_class"]["segm"].keys() == {"disc", "square"}
    assert list(metrics["milliseconds"]) == STAGES
    assert metrics["fps"] > 0
    assert (metrics["annotations"], metrics["images"], metrics["processes"]) == ("annotations.json", 6, 1)
    assert (metrics["nms"], metrics["batch_size"], metrics["dtype"]) == ("fast", 1, "float32")
    assert metrics["device"].startswith("cpu (")
    assert metrics["versions"]["torch"] == str(torch.__version__)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert {record["image_id"] for record in result.segm} == {10, 11, 12, 13, 14, 15}
    assert {record["category_id"] for record in result.bbox} == {3, 7}
    for kind, records in (("segm", result.segm), ("bbox", result.bbox)):
        assert metrics[kind] == compute_metrics(dataset, records, kind).summary


class Counts:
    """An evaluator that counts images, objects and detections."""

    def __init__(self) -> None:
        self.seen = []

    def update(self, image_id, instances, target) -> None:
        assert instances.image_size == target.image_size
        self.seen.append((image_id, len(instances), len(target.labels)))

    def merge(self, others) -> None:
        self.seen += [item for other in others for item in other.seen]

    def compute(self):
        return {"counts": {"images": len(self.seen), "objects": sum(objects for *_, objects in self.seen)}}


def test_an_evaluator_of_ones_own_gets_every_image(model, dataset, sample_config) -> None:
    own = Counts()
    for _ in range(2):  # each evaluation starts anew
        result = evaluate(PyTorchRuntime(model), dataset, sample_config.eval, evaluators=[own], progress=False)
        assert result.metrics["counts"] == {"images": 6, "objects": 10}
    assert result.further == {"counts": result.metrics["counts"]}
    assert own.seen == []


def test_metrics_of_ones_own_are_plain_numbers_under_names_of_their_own(model, dataset, sample_config) -> None:
    own, runtime = Counts(), PyTorchRuntime(model)
    own.compute = lambda: {"error": np.float32(0.5), "each": torch.tensor([1.0, math.nan]), "worst": [math.inf, None]}
    metrics = evaluate(runtime, dataset, sample_config.eval, evaluators=[own], progress=False).metrics
    assert (metrics["error"], metrics["each"], metrics["worst"]) == (0.5, [1.0, None], [None, None])
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    for name in ("segm", "versions"):
        own.compute = lambda name=name: {name: 1}
        with pytest.raises(ValueError, match=f"give a metric '{name}', as COCO's evaluation does"):
            evaluate(runtime, dataset, sample_config.eval, evaluators=[own], progress=False)


def test_the_batch_size_does_not_change_the_result(model, dataset, sample_config) -> None:
    one, four = (
        evaluate(PyTorchRuntime(model), dataset, replace(sample_config.eval, batch_size=size), progress=False)
        for size in (1, 4)
    )
    for left, right in zip(one.bbox, four.bbox, strict=True):
        assert left["image_id"] == right["image_id"]
        assert left["score"] == pytest.approx(right["score"], abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_kind_of_nms_finds_what_it_finds_alone(model, dataset, sample_config, batch_size) -> None:
    settings = replace(sample_config.eval, batch_size=batch_size, nms_threshold=0.1)  # boxes of noise overlap little
    found = compare_nms(PyTorchRuntime(model), dataset, settings, progress=False)
    assert tuple(found) == NMS_KINDS
    for kind, evaluation in found.items():
        alone = evaluate(PyTorchRuntime(model), dataset, replace(settings, nms=kind), progress=False)
        assert (evaluation.segm, evaluation.bbox) == (alone.segm, alone.bbox)
        for key in alone.metrics.keys() - {"fps", "milliseconds"}:
            assert evaluation.metrics[key] == alone.metrics[key]
    assert found["fast"].bbox != found["exact"].bbox != found["cross_class"].bbox


def test_kinds_of_nms_share_the_network_and_take_turns(model, dataset, sample_config, monkeypatch) -> None:
    passes, order, detect = [], [], Detector.detect
    model.register_forward_hook(lambda *_: passes.append(1))

    def noted(detector, predictions):
        order.append(detector.settings.nms)
        return detect(detector, predictions)

    monkeypatch.setattr(Detector, "detect", noted)
    found = compare_nms(PyTorchRuntime(model), dataset, sample_config.eval, progress=False)
    assert len(passes) == len(dataset) == 6
    for place in range(3):  # each kind comes first, second and third twice
        assert sorted(order[place::3]) == sorted(2 * NMS_KINDS)
    times = [evaluation.metrics["milliseconds"] for evaluation in found.values()]
    assert len({time["network"] for time in times}) == len({time["load"] for time in times}) == 1
    assert [list(time) for time in times] == [STAGES] * 3


def test_predictions_are_float32_in_every_precision(model) -> None:
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        exact, coarse = (PyTorchRuntime(model, precision)(images) for precision in ("fp32", "bf16"))
    assert {field.dtype for field in coarse} == {torch.float32}
    assert not torch.equal(coarse.class_logits, exact.class_logits)
    torch.testing.assert_close(coarse.class_logits, exact.class_logits, atol=0.2, rtol=0.1)


def test_the_same_classes_pass_and_without_names_the_ids_decide(dataset) -> None:
    check_classes(Categories(["disc", "square"], [3, 7]), True, dataset, Path("model.pth"))
    check_classes(Categories(["class 1", "class 2"], [3, 7]), False, dataset, Path("model.pth"))
    with pytest.raises(CheckpointError, match=r"annotations\.json"):
        check_classes(Categories(["class 1", "class 2"], [1, 2]), False, dataset, Path("model.pth"))


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["a", "b"], [3, 7], "2 classes .only there: 'a' with the id 3, 'b' .*, the file 2 .*'square' with the id 7"),
        (["disc", "square"], [3, 8], "has 2 .*: 'square' with the id 8., the file 2 .*: 'square' with the id 7.;"),
        (["disc", "square"], [7, 3], "there: 'disc' with the id 7, 'square' with the id 3., the file 2"),
        (["disc"], [3], "the checkpoint has 1 class, the file 2 classes .only there: 'square'"),
        (
            [*"abcd", "disc", "square"],
            [*range(6)],
            "6 classes .only there: 'a' with .* 'b' with .* 'c' with .* 2, ....,",
        ),
    ],
)
def test_the_difference_is_named(dataset, names, ids, message) -> None:
    with pytest.raises(CheckpointError, match=rf"^The classes of 'model.pth'.*{message}"):
        check_classes(Categories(names, ids), True, dataset, Path("model.pth"))
