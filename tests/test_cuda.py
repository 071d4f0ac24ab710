"""What must hold on a GPU: `pytest -m cuda`. Without one the tests skip, and say so.

With CUDA_TESTS_ON=cpu a CPU runs what it can of them, which tries the tests themselves.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import yolact
from tests.child import free_port
from tests.configurations import CLOSE_ANCHORS, EVAL, MODEL, TRAIN, write_config
from tests.integration.test_next import NEXT
from tests.reliability.trainings import PATIENCE, differences, last_step, wait_until
from yolact.cli import run
from yolact.config import Config, load_config
from yolact.data import CocoDataset
from yolact.data.images import read_image
from yolact.distributed import SINGLE, World
from yolact.engine.start import started
from yolact.engine.step import read_results, train_step
from yolact.engine.trainer import Parts, Trainer
from yolact.errors import UserError
from yolact.evaluation.run import NMS_KINDS, evaluate
from yolact.losses import ModelWithLoss
from yolact.models import build_model
from yolact.ops import masks as mask_ops
from yolact.ops import nms
from yolact.postprocess import Detector
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.structures import Predictions
from yolact.tools.benchmark import calibrate

DEVICE = os.environ.get("CUDA_TESTS_ON", "cuda")
ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU with CUDA"),
]
on_a_gpu_only = pytest.mark.skipif(DEVICE != "cuda", reason="a CPU has nothing of the kind")

PAPER = {
    "name": "paper",
    "model": {**MODEL, **CLOSE_ANCHORS},
    "loss": {"masks_to_train": 1000, "class_weights": "inverse"},
    "train": {**TRAIN, "max_steps": 6},
    "eval": {**EVAL, "score_threshold": 0.005},
}
DEFORMABLE = {"name": "resnet50", "deformable_blocks": [0, 1, 1, 1]}
PLUS = {**PAPER, "name": "plus", "model": {**MODEL, "image_size": 256, "mask_iou": True, "backbone": DEFORMABLE}}
AFTER = {**NEXT, "train": {**NEXT["train"], "max_steps": 6}}
CONFIGS = {"paper": PAPER, "next": AFTER, "plus": PLUS}


@pytest.fixture(autouse=True)
def _float32_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of a GPU round float32 to 10 bits (TF32) where nobody says otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Configurations on eight generated images each."""
    return {name: write_config(tmp_path_factory.mktemp(name), content, 8) for name, content in CONFIGS.items()}


@pytest.fixture
def start(paths: dict[str, Path], tmp_path: Path) -> Iterator:
    """Return a function from a configuration's name, a device and settings to a trainer."""
    contexts = []

    def make(name: str, device: str = DEVICE, **settings: object) -> Trainer:
        config = load_config(str(paths[name]))
        config = replace(config, train=replace(config.train, **settings))
        contexts.append(
            started(config, SINGLE, torch.device(device), runs=tmp_path / str(len(contexts)), parts=Parts())
        )
        return contexts[-1].__enter__()

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


def same_batches(trainer: Trainer, count: int) -> list:
    return list(islice(trainer.batches(), count))


def model_of(config: Config, device: str = DEVICE) -> yolact.models.Yolact:
    """Return a random network whose many detections differ in their scores."""
    torch.manual_seed(0)
    model = build_model(replace(config, model=replace(config.model, num_classes=5)))
    calibrate(model, torch.rand(2, 3, *model.image_size), score=0.05, num_candidates=60)
    return model.to(device)


# --- what takes longest, first where several processes share the tests


def command(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command line in a process of its own, as an operation of a process before may forbid determinism."""
    return subprocess.Popen([sys.executable, "-m", "tests.configurations", *map(str, arguments)], cwd=ROOT)


@pytest.mark.parametrize("name", ["paper", "next"])
def test_a_deterministic_run_resumes_bit_by_bit(paths, tmp_path, name):
    settings = ["train.deterministic=true", "train.max_steps=60", "train.precision=bf16"]
    options = ["train", "--device", DEVICE, "--runs", tmp_path, "--config", paths[name]]
    assert command(*options, "--name", "whole", "--set", *settings).wait(PATIENCE) == 0
    folder = tmp_path / name
    cut = command(*options, "--name", "cut", "--set", *settings)
    wait_until(lambda: last_step(folder / "cut") >= 3)
    cut.terminate()
    assert cut.wait(PATIENCE) == 143
    assert command("train", "--device", DEVICE, "--resume", folder / "cut").wait(PATIENCE) == 0
    assert differences(folder / "cut", folder / "whole") == []


@pytest.mark.parametrize("name", ["paper", "next"])
def test_a_compiled_step_goes_the_same_way(start, name):
    results = []
    for compiled in (False, True):
        trainer = start(name, compile=compiled, precision="fp32", lr=1e-4, image_sizes=(), image_size_order="random")
        for batch in same_batches(trainer, 3):
            train_step(trainer, [batch])
        read_results(trainer)
        results.append(dict(trainer.window))
    assert results[1] == pytest.approx(results[0], rel=1e-2)


def test_a_compiled_predictor_finds_the_same(sample_checkpoint):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    plain, compiled = (yolact.load(sample_checkpoint, DEVICE, compiled=flag) for flag in (False, True))
    for _ in range(3):  # of a captured graph the second and third run are others than the first
        found, expected = compiled(image, 0.0), plain(image, 0.0)
        assert len(expected) > 10
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-3, rtol=1e-3)


def test_a_compiled_predictor_keeps_what_it_saw_before_the_flip(sample_checkpoint):
    image, settings = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8), {"nms": "exact"}
    settings["flips"] = ["horizontal"]
    plain, compiled = (yolact.load(sample_checkpoint, DEVICE, compiled=flag, **settings) for flag in (False, True))
    for _ in range(3):
        scores = [predictor(image, 0.0).scores for predictor in (compiled, plain)]
        torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)


# --- operations and losses


@pytest.mark.parametrize("kind", NMS_KINDS)
def test_suppression_keeps_the_same(kind):
    corners = torch.rand(2, 400, 2) * 200
    boxes, scores = torch.cat([corners, corners + 5 + torch.rand(2, 400, 2) * 60], -1), torch.rand(2, 400, 7)
    scores = torch.where(scores > 0.4, scores, -1.0)
    functions = {
        "fast": lambda b, s: nms.fast_nms(b, s, 0.5, 200, 100),
        "cross_class": lambda b, s: nms.cross_class_nms(b, s, 0.5, 200, 100),
        "exact": lambda b, s: nms.exact_nms(b, s, 0.5, 100, 0.0),
    }
    expected = functions[kind](boxes, scores)
    for found, wanted in zip(functions[kind](boxes.to(DEVICE), scores.to(DEVICE)), expected, strict=True):
        assert torch.equal(found.cpu(), wanted)


def test_masks_are_assembled_cropped_resized_and_sampled_alike():
    torch.manual_seed(0)
    boxes = torch.tensor([[3.0, 4.5, 20.2, 30.0], [0, 0, 48, 48], [40.5, 1, 47, 2.2]])
    prototypes, coefficients, masks = torch.rand(8, 48, 48), torch.randn(3, 8), (torch.rand(3, 96, 96) > 0.5).byte()

    def results(device: str) -> list[torch.Tensor]:
        own, places = boxes.to(device), torch.zeros(3, dtype=torch.long, device=device)
        logits = mask_ops.assemble(prototypes.to(device), coefficients.to(device))
        return [
            logits,
            mask_ops.crop(logits, own),
            mask_ops.resize(logits, (70, 51)),
            mask_ops.shrink(masks.to(device), (48, 48)),
            mask_ops.align(prototypes[None].to(device), places, own / 48, 14),
            mask_ops.align_masks(masks.to(device), 2 * own, 14),
        ]

    for found, expected in zip(results(DEVICE), results("cpu"), strict=True):
        if found.dtype == torch.uint8:
            assert (found.cpu().int() - expected.int()).abs().max() <= 1
        else:
            torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_their_gradients_are_those_of_a_cpu(start, name):
    """Of the same predictions, since networks that differ by rounding differ by more at their ends."""
    trainer = start(name, "cpu", batch_size=4, image_sizes=(), image_size_order="random")
    batch, model = same_batches(trainer, 1)[0], model_of(trainer.config, "cpu")
    with torch.no_grad():
        predictions = model(batch.images / 255)
    results = []
    for device in ("cpu", DEVICE):
        leaves = Predictions(*(field.detach().to(device).requires_grad_() for field in predictions))
        criterion = ModelWithLoss(model.to(device), trainer.config.loss)
        losses = criterion.losses(leaves, batch.to(device).targets, model.head.coder(tuple(batch.images.shape[2:])))
        sum(losses.values()).backward()
        gradients = {key: field.grad.cpu() for key, field in leaves._asdict().items()}
        results.append(({key: value.item() for key, value in losses.items()}, gradients))
    (expected, wanted), (found, gradients) = results
    assert found == pytest.approx(expected, rel=1e-4)
    for key, gradient in gradients.items():
        assert (gradient - wanted[key]).norm() <= 1e-3 * wanted[key].norm(), key


# --- training


@pytest.mark.parametrize("name", CONFIGS)
def test_float32_steps_follow_those_of_a_cpu(start, name):
    """Weights, the moving average and the statistics of batch norms, after three steps."""
    states = []
    for device in ("cpu", DEVICE):
        trainer = start(name, device, precision="fp32", lr=1e-4)
        for batch in same_batches(trainer, 3):
            train_step(trainer, [batch])
            read_results(trainer)
        assert trainer.window["steps"] == 3
        states.append({**trainer.model.model.state_dict(), **trainer.average.model.state_dict(prefix="average.")})
    for key, expected in states[0].items():
        if expected.is_floating_point():
            difference = (states[1][key].cpu() - expected).norm()
            # AdamW steps by the learning rate also where a gradient is but noise.
            assert difference < 0.02 * expected.norm() + 3e-4 * expected.numel() ** 0.5, key


@on_a_gpu_only
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_no_step_waits_for_the_device(start, name, precision):
    trainer = start(name, precision=precision)
    batches = same_batches(trainer, 4)
    for batch in batches[:2]:  # libraries start in the first
        train_step(trainer, [batch])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[2:]:
            train_step(trainer, [batch])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    read_results(trainer)
    assert trainer.window["steps"] + trainer.nonfinite_steps >= 4 - (precision == "fp16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["paper", "next"])
def test_less_than_float32_learns(start, name, precision):
    if precision == "fp16" and DEVICE == "cpu":
        pytest.skip("a CPU is slow at fp16")
    trainer = start(name, precision=precision, lr=1e-3)
    (batch,), totals = same_batches(trainer, 1), []
    for _ in range(12):
        train_step(trainer, [batch])
        read_results(trainer)
        if trainer.window["steps"]:
            totals.append(sum(value for key, value in trainer.window.items() if key != "steps"))
        trainer.window.clear()
    assert len(totals) >= 6  # the first scales of fp16 may be too large
    assert totals[-1] < totals[0]


@on_a_gpu_only
def test_memory_that_runs_out_is_a_sentence(paths, tmp_path):
    """The model has room, and the maps of eight images have not."""
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + 7e8
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    options = ["--runs", str(tmp_path), "--set", "train.batch_size=8", "train.precision=fp32"]
    try:
        with pytest.raises(UserError, match=r"Out of memory on cuda.* lower train.batch_size"):
            run(["train", "--device", "cuda", "--config", str(paths["plus"]), *options])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_checkpoints_go_from_one_device_to_the_other(paths, tmp_path):
    for name in ("paper", "next"):
        options = ["--runs", str(tmp_path), "--name", "first", "--set", "train.max_steps=2", "train.precision=fp32"]
        assert run(["train", "--device", DEVICE, "--config", str(paths[name]), *options]) == 0
        folder = tmp_path / name / "first"
        images = [read_image(path) for path in sorted((paths[name].parent / "shapes/val").iterdir())]
        found, expected = (yolact.load(folder / "last.pth", device)(images, 0.0) for device in (DEVICE, "cpu"))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-3, rtol=1e-3)
        for steps, device in ((3, "cpu"), (4, DEVICE)):
            assert run(["train", "--device", device, "--resume", str(folder), "--set", f"train.max_steps={steps}"]) == 0


@pytest.fixture
def group_of_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A process group of this process alone; the world says two, as one alone asks nobody."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    dist.init_process_group("cpu:gloo,cuda:nccl" if DEVICE == "cuda" else "gloo", rank=0, world_size=1)
    yield World(0, 2)
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["paper", "next"])
def test_replicas_have_the_gradients_of_the_model(start, group_of_one, name):
    trainer = start(name, precision="fp32")
    (batch,), model = same_batches(trainer, 1), trainer.model
    targets = batch.to(DEVICE).targets
    assert group_of_one.all_reduce(torch.ones(3, device=DEVICE)).tolist() == [1, 1, 1]
    assert group_of_one.maximum(3) == 3
    group_of_one.broadcast_weights(model)
    gradients = []
    for module in (model, group_of_one.replicate(model)):
        torch.manual_seed(0)
        model.zero_grad()
        sum(module(batch.images.to(DEVICE) / 255, targets).values()).backward()
        gradients.append([value.grad.clone() for value in model.parameters() if value.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-2)
    if DEVICE == "cuda":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        sum(model(batch.images.to(DEVICE) / 255, targets).values()).backward()


# --- inference


@pytest.mark.parametrize("kind", NMS_KINDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_detections_and_masks_are_those_of_a_cpu(paths, name, kind):
    config = load_config(str(paths[name]))
    settings = replace(config.eval, nms=kind, score_threshold=0.05)
    images = torch.randint(0, 256, (2, 3, *config.model.input_size), dtype=torch.uint8)
    results = []
    for device in ("cpu", DEVICE):
        model = model_of(config, device).eval()
        detector = Detector.of(model, settings)
        with torch.no_grad():
            found = detector.detect(PyTorchRuntime(model)(images.to(device)))
            detector.masks(found)
            names = {"class_names": list("abcde"), "category_ids": list(range(5))}
            results.append([detector.instances(found, index, (90, 70), **names) for index in range(2)])
    for expected, found in zip(*results, strict=True):
        assert len(expected) > 5
        assert len(found) == len(expected)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-3, rtol=1e-3)
        # Objects of equal scores may change places.
        rows = [
            torch.cat([one.boxes, 50 * one.scores[:, None], 50 * one.labels[:, None]], 1) for one in (found, expected)
        ]
        distance, place = torch.cdist(*rows).min(1)
        assert distance.max() < 0.1
        assert (found.masks != expected.masks[place]).float().mean() < 1e-3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_than_float32_scores_about_the_same(paths, precision):
    if precision == "fp16" and DEVICE == "cpu":
        pytest.skip("a CPU is slow at fp16")
    config = load_config(str(paths["next"]))
    model = model_of(config).eval()
    images = torch.randint(0, 256, (2, 3, *model.image_size), dtype=torch.uint8, device=DEVICE)
    with torch.no_grad():
        exact, found = (PyTorchRuntime(model, name)(images) for name in ("fp32", precision))
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours - theirs).norm() / theirs.norm() < 0.03


def test_an_evaluation_scores_as_on_a_cpu(paths):
    config = load_config(str(paths["paper"]))
    data = CocoDataset(config.data.val_annotations, config.data.val_images)
    metrics = []
    for device, workers in (("cpu", 0), (DEVICE, 2)):
        runtime, settings = PyTorchRuntime(model_of(config, device).eval()), replace(config.eval, num_workers=workers)
        metrics.append(evaluate(runtime, data, settings, progress=False).metrics)
    assert metrics[1]["segm"]["AP"] == pytest.approx(metrics[0]["segm"]["AP"], abs=0.01)
    assert metrics[1]["device"].startswith(DEVICE)


def test_an_exported_file_agrees(sample_checkpoint, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "model.onnx"
    run(["export", "--weights", str(sample_checkpoint), "--format", "onnx", "--output", str(path)])
    predictor = yolact.load(sample_checkpoint, DEVICE)
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        found = Detector.of(predictor.model, predictor.settings).detect(predictor.runtime(image.to(DEVICE)))
    providers = [name for name in runtime.get_available_providers() if name.startswith(("CUDA", "CPU"))]
    session = runtime.InferenceSession(str(path), providers=providers)
    [scores] = session.run(["scores"], {"images": image.permute(0, 2, 3, 1).numpy()})
    count = int(found.counts[0])
    np.testing.assert_allclose(scores[0, :count], found.scores[0, :count].cpu(), atol=2e-3)
