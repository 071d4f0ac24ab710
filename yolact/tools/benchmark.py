"""Speed and memory of what users wait for: inference, training data, training steps and evaluation.

Stages that are compared take turns, so that a busy machine is unfair to none. Without weights the network is random and
calibrated to find a usual number of objects, as otherwise the time of all that follows it would mean nothing.
"""

import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import masks_to_boxes

from yolact.config import Config, config_to_dict, override_config
from yolact.data.dataset import CocoDataset
from yolact.data.images import SUFFIXES, read_image
from yolact.data.loader import Place, TrainingSet, training_loader
from yolact.data.transforms import make_transforms, prepare_image, to_unit
from yolact.device import DTYPES, Precision, keep_freed_memory
from yolact.engine.checkpoint import FORMAT, save_checkpoint
from yolact.engine.step import read_results, train_step
from yolact.engine.trainer import Trainer
from yolact.errors import UserError
from yolact.evaluation.coco import CocoEvaluator, Engine
from yolact.evaluation.encoding import RecordMaker
from yolact.evaluation.run import NMS_KINDS, device_name, predict, versions
from yolact.evaluation.speed import synchronize
from yolact.instances import Instances
from yolact.losses import ModelWithLoss
from yolact.models import Yolact, build_model
from yolact.models.inference import for_inference
from yolact.ops.regions import regions_of
from yolact.postprocess import Detector
from yolact.predictor import LoadedModel, Predictor, load_model
from yolact.structures import Predictions
from yolact.tools.shapes import write_shapes

Stage = Callable[[int], object]  # does its work for the input of this number
MAX_IMAGES = 8  # of a folder: few enough to be in memory at once
GENERATED, GENERATED_SIZE = 32, 640  # images where there are no others, and their longest side in pixels
CANDIDATES = 1000  # anchors of an image above the score threshold, of a calibrated network
WARMUP = 3  # untimed turns
DETECTIONS, SIDE, CLASSES = 100, 480, 80  # of the images that are made for the evaluation
OBJECTS = (2, 3, 5, 7, 7, 8, 12, 15)  # of these in turn: 7 on average, as in COCO
MADE = 48  # of them; larger numbers repeat these
ON_DEVICE = ("latency", "throughput", "nms", "training")  # parts that a GPU can do
ENGINES: tuple[Engine, ...] = ("pycocotools", "hotcoco")


Row = tuple[str, dict[str, Any]]  # a name and what the JSON file holds; nothing where this machine cannot measure it


def timed(name: str, values: Sequence[float], num_images: int = 1) -> Row:
    """Return the row of a stage whose calls, each for so many images, took `values` milliseconds."""
    ordered, mean = sorted(values), statistics.fmean(values)
    return name, {
        "median_ms": statistics.median(values),
        "p95_ms": ordered[round(0.95 * (len(values) - 1))],
        "min_ms": ordered[0],
        "mean_ms": mean,
        "per_second": 1000 * num_images / mean,  # images one after another follow the mean and not the median
        "calls": len(values),
    }


@dataclass(frozen=True)
class Subject:
    """What is measured, and how; it can be sent to another process."""

    config: Config  # whose data exist
    weights: Path
    device: torch.device
    precisions: tuple[Precision, ...]
    images: list[Path]
    folder: Path  # a temporary one
    repeats: int  # timed calls of a stage; fewer of long ones
    batch_sizes: tuple[int, ...]
    num_images: int  # of the evaluation

    def load(self) -> tuple[LoadedModel, Detector]:
        """Load the model and its detector."""
        loaded = load_model(self.weights, self.device, self.config)
        return loaded, Detector.of(loaded.model, self.config.eval)

    def inputs(self) -> list[torch.Tensor]:
        """Return the images as the network takes them, uint8 [1, 3, S, S] each."""
        size = self.config.model.image_size
        return [prepare_image(read_image(path), size)[None].to(self.device) for path in self.images]

    def training_set(self) -> TrainingSet:
        """Open the training data as a training does."""
        data, seed = self.config.data, self.config.train.seed
        dataset = CocoDataset(data.train_annotations, data.train_images, max_images=data.max_train_images)
        paste, transforms = data.augment.copy_paste_probability, make_transforms(data.augment)
        return TrainingSet(dataset, self.config.model.image_size, transforms, seed, data.unreadable, paste)


def take_turns(stages: Mapping[str, Stage], repeats: int, device: torch.device, num_images: int = 1) -> list[Row]:
    """Call every stage `repeats` times by turns, after untimed turns.

    The order within a turn changes from one to the next. Turn i hands every stage the number i.
    """
    names = list(stages)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(WARMUP + repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            synchronize(device)
            start = time.perf_counter()
            stages[name](turn)
            synchronize(device)
            times[name].append((time.perf_counter() - start) * 1000)
    return [timed(name, values[WARMUP:], num_images) for name, values in times.items()]


@torch.no_grad()
def calibrate(model: Yolact, images: torch.Tensor, score: float, num_candidates: int = CANDIDATES) -> None:
    """Make a network of random weights find a usual number of objects, in place.

    Its batch norms and the outputs of its head take the spread that they have in trained networks, and on average
    `num_candidates` anchors of an image, of `images` float32 [B, 3, S, S] RGB in [0, 1], exceed `score`.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the statistics become those of this batch
    model.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    predictions, head = model.eval()(images), model.head
    head.class_logits.weight /= predictions.class_logits.std()
    head.box_deltas.weight /= predictions.box_deltas.std()
    head.mask_coefficients.weight /= predictions.mask_coefficients.clamp(-0.999, 0.999).atanh().std()
    logits = model(images).class_logits.double()
    best, others = logits[..., 1:].amax(-1), logits[..., 1:].exp().sum(-1)
    # What must be added to an anchor's background logit for its best class to have just this score.
    limits = ((best.exp() / score - others).clamp(min=1e-9).log() - logits[..., 0]).flatten().sort(descending=True)
    last = min(num_candidates * len(images), len(limits.values) - 1)
    bias = head.class_logits.get_parameter("bias").view(-1, 1 + model.num_classes)
    bias[:, 0] += limits.values[last - 1 : last + 1].mean()


def prepare(
    config: Config, weights: Path | None, device: torch.device, images: Path | None, folder: Path, **options: Any
) -> Subject:
    """Write into `folder` what is missing: images to measure on, data to train on of as many classes, and weights.

    Raises:
        UserError: the folder `images` holds none.
    """
    num_classes = config.model.num_classes or CLASSES
    config = replace(config, model=replace(config.model, num_classes=num_classes))
    write_shapes(folder / "shapes", GENERATED, 1, GENERATED_SIZE)
    shapes, names = folder / "shapes/train", [f"class {1 + i}" for i in range(num_classes)]
    if not (Path(config.data.train_annotations).is_file() and Path(config.data.val_annotations).is_file()):
        content = json.loads((folder / "shapes/instances_train.json").read_text())
        content["categories"] = [{"id": 1 + i, "name": name} for i, name in enumerate(names)]
        for record in content["annotations"]:
            record["category_id"] = 1 + record["id"] % num_classes
        path = folder / "train.json"
        path.write_text(json.dumps(content))
        paths = {"images": shapes, "annotations": path}.items()
        settings = [
            f"data.{split}_{key}={json.dumps(str(value))}" for split in ("train", "val") for key, value in paths
        ]
        config = override_config(config, settings)
    files = sorted(file for file in (images or shapes).glob("*") if file.suffix.lower() in SUFFIXES)[:MAX_IMAGES]
    if not files:
        raise UserError(f"'{images}' holds no images; give a folder of images with --images.")
    if weights is None:
        torch.manual_seed(0)
        model, weights = build_model(config), folder / "random.pth"
        inputs = torch.stack([prepare_image(read_image(file), model.image_size) for file in files])
        calibrate(model, to_unit(inputs), config.eval.score_threshold)
        state = {"format": FORMAT, "step": 0, "model": model.state_dict(), "ema": None, "class_names": names}
        state |= {"config": config_to_dict(config), "category_ids": list(range(1, 1 + num_classes))}
        save_checkpoint(state, weights)
    return Subject(config, weights, device, images=files, folder=folder, **options)


def measure_latency(subject: Subject) -> Iterator[Row]:
    """Time the network, what follows it, and all from a file to masks of its size, one image at a time."""
    loaded, detector = subject.load()
    inputs, sizes = subject.inputs(), [read_image(path).shape for path in subject.images]

    def infer(i: int, network: Yolact, detect: bool, masks: bool) -> object:
        predictions = predict(network, inputs[i % len(inputs)])
        if not detect:
            return predictions
        found, (height, width, _) = detector.detect(predictions), sizes[i % len(inputs)]
        names, ids = loaded.class_names, loaded.category_ids
        return masks and detector.instances(found, predictions.prototypes, 0, (height, width), names, ids)

    stages: dict[str, Stage] = {}
    for precision in subject.precisions:
        network = for_inference(loaded.model, DTYPES[precision])
        stages[f"network, {precision}"] = partial(infer, network=network, detect=False, masks=False)
        stages[f"network + detection, {precision}"] = partial(infer, network=network, detect=True, masks=False)
        stages[f"network + detection + masks, {precision}"] = partial(infer, network=network, detect=True, masks=True)
        stages[f"file to masks, {precision}"] = _file_to_masks(subject, loaded, precision)
    with torch.inference_mode():
        yield from take_turns(stages, subject.repeats, subject.device)


def _file_to_masks(subject: Subject, loaded: LoadedModel, precision: Precision) -> Stage:
    predictor, files = Predictor(loaded, precision), subject.images
    return lambda i: predictor(files[i % len(files)], subject.config.eval.score_threshold)


def measure_throughput(subject: Subject) -> Iterator[Row]:
    """Time batches, from images to masks at the size of the prototypes."""
    loaded, detector = subject.load()
    inputs = subject.inputs()

    def infer(_: int, network: Yolact, batch: torch.Tensor) -> object:
        predictions = predict(network, batch)
        return detector.masks(detector.detect(predictions), predictions.prototypes)

    networks = {precision: for_inference(loaded.model, DTYPES[precision]) for precision in subject.precisions}
    for size in subject.batch_sizes:
        batch = torch.cat([inputs[i % len(inputs)] for i in range(size)])
        stages = {f"batch of {size}, {key}": partial(infer, network=n, batch=batch) for key, n in networks.items()}
        with torch.inference_mode():
            yield from take_turns(stages, max(3, subject.repeats // 4), subject.device, size)


def measure_nms(subject: Subject) -> Iterator[Row]:
    """Time detection with each kind of NMS, on the best candidates of one image."""
    loaded, detector = subject.load()
    with torch.inference_mode():
        predictions = predict(for_inference(loaded.model), subject.inputs()[0])
        best = detector.coder.scores(predictions.class_logits).amax(-1).flatten().sort(descending=True).values
        for count in [count for count in (50, 300, CANDIDATES) if count < len(best)]:
            settings = replace(subject.config.eval, score_threshold=best[count - 1 : count + 1].mean().item())
            detectors = {kind: Detector.of(loaded.model, replace(settings, nms=kind)) for kind in NMS_KINDS}
            yield from take_turns(
                {f"{kind}, {count} candidates": _detection(one, predictions) for kind, one in detectors.items()},
                subject.repeats,
                subject.device,
            )


def _detection(detector: Detector, predictions: Predictions) -> Stage:
    return lambda _: detector.detect(predictions)


def measure_loader(subject: Subject) -> Iterator[Row]:
    """Time how one core makes training samples, as a worker of the loader does."""
    samples, threads = subject.training_set(), torch.get_num_threads()
    stages: dict[str, Stage] = {
        "sample": lambda i: samples[Place(i, i % len(samples))],
        "of that, reading the image": lambda i: samples.dataset.load_image(i % len(samples)),
    }
    torch.set_num_threads(1)
    yield from take_turns(stages, 10 * subject.repeats, torch.device("cpu"))
    torch.set_num_threads(threads)


def training_step(subject: Subject, precision: Precision) -> tuple[Trainer, Stage]:
    """Return a trainer and the step that trains, `train_step`, with clipping, EMA, finite check and all, on one batch.

    The learning rate leaves the weights about as they are, so that the steps stay alike.
    """
    settings = replace(subject.config.train, precision=precision, lr=1e-6, warmup_lr=1e-6)
    config, samples = replace(subject.config, train=settings), subject.training_set()
    model = subject.load()[0].model
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    if settings.compile:
        model.compile()
    data = samples.dataset
    trainer = Trainer(config, ModelWithLoss(model, config.loss), subject.folder, data, data, precision)
    loader = training_loader(samples, settings.batch_size, settings.seed, image_sizes=settings.image_sizes)
    batches = list(islice(loader, settings.accumulate))

    def step(_: int) -> None:
        train_step(trainer, batches)
        read_results(trainer)

    return trainer, step


def measure_training(subject: Subject) -> Iterator[Row]:
    """Time training steps."""
    num_images = subject.config.train.batch_size * subject.config.train.accumulate
    for precision in subject.precisions:
        stages = {f"step of {num_images} images, {precision}": training_step(subject, precision)[1]}
        yield from take_turns(stages, max(3, subject.repeats // 4), subject.device, num_images)


def measure_evaluation(subject: Subject) -> Iterator[Row]:
    """Time everything from the masks of images to COCO's metrics."""
    made = [_make_image(number) for number in range(MADE)]
    content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": i, "name": str(i)} for i in range(CLASSES)]
    for number in range(subject.num_images):
        content["images"].append({"id": number, "file_name": "any.png", "height": SIDE, "width": SIDE})
        for record in made[number % MADE][0]:
            content["annotations"].append({**record, "id": len(content["annotations"]) + 1, "image_id": number})
    (subject.folder / "any.png").touch()
    (subject.folder / "evaluation.json").write_text(json.dumps(content))
    dataset = CocoDataset(subject.folder / "evaluation.json", subject.folder)
    for engine in ENGINES:
        row: Row = (f"{subject.num_images} images, {engine}", {})
        if find_spec(engine):
            start = time.perf_counter()
            with RecordMaker(subject.config.eval.num_workers) as maker:
                evaluator = CocoEvaluator(dataset, DETECTIONS, engine, maker)
                for number in range(subject.num_images):
                    evaluator.update(number, made[number % MADE][1], dataset.ground_truth(number))
            evaluator.compute()
            row = timed(row[0], [1000 * (time.perf_counter() - start)], subject.num_images)
        yield row


def _make_image(number: int) -> tuple[list[dict[str, Any]], Instances]:
    """Make an image's ground truth, ellipses in COCO's form, and its detections: these shifted, and others."""
    generator, count = torch.Generator().manual_seed(number), OBJECTS[number % len(OBJECTS)]
    area, ratio, centre = (torch.rand(count + DETECTIONS, n, generator=generator) for n in (1, 1, 2))
    area = 0.005 + 0.09 * area  # 5 % of the image on average
    width = (area * (0.5 + 1.5 * ratio)).sqrt()
    half = torch.cat([width, area / width], 1) / 2
    centre = centre.maximum(half).minimum(1 - half)
    grid = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = (((grid - centre[:, i, None]) / half[:, i, None]) ** 2 for i in range(2))
    masks = y[:, :, None] + x[:, None] < 1
    labels = torch.randint(0, CLASSES, (count + DETECTIONS,), generator=generator)
    near = torch.randint(0, 2 * count, (DETECTIONS,), generator=generator)
    chosen = torch.where(near < count, near, torch.arange(count, count + DETECTIONS))
    shifts = torch.randint(-9, 10, (DETECTIONS, 2), generator=generator).tolist()
    moved = torch.stack([masks[i].roll(shift, (0, 1)) for i, shift in zip(chosen, shifts, strict=True)])
    records = _instances(masks[:count], labels[:count]).to_coco(0)
    areas = masks[:count].sum((1, 2)).tolist()
    truth = [{**record, "area": area, "iscrowd": 0} for record, area in zip(records, areas, strict=True)]
    return truth, _instances(moved, labels[chosen])


def _instances(masks: torch.Tensor, labels: torch.Tensor) -> Instances:
    scores, names = torch.linspace(1, 0.05, len(masks)), [str(i) for i in range(CLASSES)]
    boxes, regions = masks_to_boxes(masks), regions_of(masks)
    return Instances(boxes, scores, labels, regions, scores, (SIDE, SIDE), names, list(range(CLASSES)))


def measure_memory(subject: Subject) -> Iterator[Row]:
    """Measure the most memory that inference and training take, each in a process of its own."""
    for precision in subject.precisions:
        for work in ("file to masks", "training step"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                peaks = pool.submit(_peaks, subject, precision, work).result()
            for where, peak in peaks.items():
                yield f"{work}, {precision}, {where}", {} if peak is None else {"peak_mb": peak / 2**20}


def _peaks(subject: Subject, precision: Precision, work: str) -> dict[str, int | None]:
    """Return bytes of this process and of its GPU, None where nothing tells them."""
    on_gpu = subject.device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()  # as the commands do
    if work == "training step":
        _, stage = training_step(subject, precision)
    else:
        stage = _file_to_masks(subject, subject.load()[0], precision)
    for number in range(WARMUP):
        stage(number)
    status = Path("/proc/self/status")  # of Linux
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.is_file() else None
    gpu = torch.cuda.max_memory_allocated(subject.device) if on_gpu else None
    return {"process": int(found[1]) * 1024 if found else None, "GPU": gpu}


PARTS: dict[str, Callable[[Subject], Iterator[Row]]] = {
    "latency": measure_latency,
    "throughput": measure_throughput,
    "nms": measure_nms,
    "loader": measure_loader,
    "training": measure_training,
    "evaluation": measure_evaluation,
    "memory": measure_memory,
}


def benchmark(
    config: Config, weights: Path | None, device: torch.device, images: Path | None, parts: Sequence[str], **how: Any
) -> dict[str, Any]:
    """Measure parts, print a table as it grows, and return what the JSON file holds; `how` is of `Subject`."""
    result: dict[str, Any] = {"device": device_name(device), "versions": versions(), "config": config.name}
    with tempfile.TemporaryDirectory() as folder:
        subject = prepare(config, weights, device, images, Path(folder), **how)
        for part in parts:
            columns = ("peak MB",) if part == "memory" else ("median ms", "p95 ms", "images/s")
            print(f"{part:44}", *(f"{column:>13}" for column in columns))
            elsewhere: list[Row] = [("on a GPU", {})] if device.type == "cpu" and part in ON_DEVICE else []
            result[part] = {}
            for name, found in chain(PARTS[part](subject), elsewhere):
                shown = [
                    f"{found[key]:13,.2f}" for key in ("peak_mb", "median_ms", "p95_ms", "per_second") if key in found
                ]
                print(f"  {name:42}", *(shown or ["not measured".rjust(13)]), flush=True)
                result[part][name] = found
    return result
