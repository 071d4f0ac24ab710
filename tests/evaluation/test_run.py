import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from yolact.config import Config
from yolact.data import CocoDataset
from yolact.evaluation import run
from yolact.evaluation.coco import SUMMARY_KEYS, compute_metrics
from yolact.evaluation.run import NMS_KINDS, compare_nms, evaluate, predict
from yolact.models import Yolact
from yolact.models.inference import for_inference
from yolact.predictor import load_model

CPU = torch.device("cpu")


@pytest.fixture
def dataset(sample_data: Path) -> CocoDataset:
    return CocoDataset(sample_data / "annotations.json", sample_data / "pictures")


@pytest.fixture
def model(sample_checkpoint: Path) -> Yolact:
    return load_model(sample_checkpoint).model


def test_metrics_hold_what_metrics_json_promises(model: Yolact, dataset: CocoDataset, sample_config: Config) -> None:
    metrics = evaluate(model, dataset, sample_config.eval, CPU, progress=False).metrics
    assert tuple(metrics["segm"]) == tuple(metrics["bbox"]) == SUMMARY_KEYS
    assert metrics["per_class"]["segm"].keys() == {"disc", "square"}
    assert list(metrics["milliseconds"]) == ["load", "network", "detect", "masks", "encode"]
    assert metrics["fps"] > 0
    assert (metrics["annotations"], metrics["images"]) == ("annotations.json", 6)
    assert (metrics["nms"], metrics["batch_size"]) == ("fast", 1)
    assert metrics["dtype"] == "float32"
    assert metrics["device"].startswith("cpu (")
    assert metrics["versions"]["torch"] == str(torch.__version__)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_every_picture_is_evaluated_and_figures_are_those_of_the_records(
    model: Yolact, dataset: CocoDataset, sample_config: Config
) -> None:
    result = evaluate(model, dataset, sample_config.eval, CPU, progress=False)
    assert {record["image_id"] for record in result.segm} == {10, 11, 12, 13, 14, 15}
    assert {record["category_id"] for record in result.bbox} == {3, 7}
    assert result.metrics["segm"] == compute_metrics(dataset.annotation_file, result.segm, "segm").summary
    assert result.metrics["bbox"] == compute_metrics(dataset.annotation_file, result.bbox, "bbox").summary


def test_only_the_pictures_of_a_shortened_data_set_count(
    model: Yolact, sample_data: Path, tmp_path: Path, sample_config: Config
) -> None:
    content = json.loads((sample_data / "annotations.json").read_text())
    content["images"].reverse()  # the first one is now the one without objects
    (tmp_path / "reversed.json").write_text(json.dumps(content))
    short = CocoDataset(tmp_path / "reversed.json", sample_data / "pictures", max_images=1)
    result = evaluate(model, short, sample_config.eval, CPU, progress=False)
    assert result.metrics["images"] == 1
    assert {record["image_id"] for record in result.segm} == {15}
    assert set(result.metrics["segm"].values()) == {None}  # nothing to find, so nothing was missed


def test_the_batch_size_does_not_change_the_result(model: Yolact, dataset: CocoDataset, sample_config: Config) -> None:
    one = evaluate(model, dataset, sample_config.eval, CPU, progress=False)
    four = evaluate(model, dataset, replace(sample_config.eval, batch_size=4), CPU, progress=False)
    assert len(one.bbox) == len(four.bbox)
    for left, right in zip(one.bbox, four.bbox, strict=True):
        assert left["image_id"] == right["image_id"]
        assert left["score"] == pytest.approx(right["score"], abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_kind_of_nms_finds_what_it_finds_alone(
    model: Yolact, dataset: CocoDataset, sample_config: Config, batch_size: int
) -> None:
    settings = replace(sample_config.eval, batch_size=batch_size, nms_threshold=0.1)  # boxes of noise overlap little
    found = compare_nms(model, dataset, settings, CPU, progress=False)
    assert tuple(found) == NMS_KINDS
    for kind, evaluation in found.items():
        alone = evaluate(model, dataset, replace(settings, nms=kind), CPU, progress=False)
        assert (evaluation.segm, evaluation.bbox) == (alone.segm, alone.bbox)
        for key in ("segm", "bbox", "per_class", "nms", "images", "batch_size", "annotations"):
            assert evaluation.metrics[key] == alone.metrics[key]
    assert found["fast"].bbox != found["exact"].bbox != found["cross_class"].bbox


def test_kinds_of_nms_share_the_network_and_take_turns(
    model: Yolact, dataset: CocoDataset, sample_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, order = [], []
    model.register_forward_hook(lambda *_: passes.append(1))
    select = run.select_detections

    def noted(predictions, anchors, settings):
        order.append(settings.nms)
        return select(predictions, anchors, settings)

    monkeypatch.setattr(run, "select_detections", noted)
    found = compare_nms(model, dataset, sample_config.eval, CPU, progress=False)
    assert len(passes) == len(dataset) == 6
    pictures = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert len(pictures) == 6
    for place in range(3):  # each kind comes first, second and third twice
        assert sorted(picture[place] for picture in pictures) == sorted(2 * NMS_KINDS)
    times = [evaluation.metrics["milliseconds"] for evaluation in found.values()]
    assert len({time["network"] for time in times}) == len({time["load"] for time in times}) == 1
    assert [list(time) for time in times] == [["load", "network", "detect", "masks", "encode"]] * 3


def test_modes_of_all_modules_come_back(model: Yolact, dataset: CocoDataset, sample_config: Config) -> None:
    model.train()
    model.backbone.eval()
    before = [module.training for module in model.modules()]
    evaluate(model, dataset, replace(sample_config.eval, max_detections=1), CPU, progress=False)
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_predictions_are_float32_in_every_precision(model: Yolact) -> None:
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        exact = predict(for_inference(model), images)
        coarse = predict(for_inference(model, torch.bfloat16), images)
    assert {field.dtype for field in coarse} == {torch.float32}
    assert not torch.equal(coarse.class_logits, exact.class_logits)
    torch.testing.assert_close(coarse.class_logits, exact.class_logits, atol=0.2, rtol=0.1)
