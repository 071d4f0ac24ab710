"""Speed and memory of what users wait for: inference, training data, training steps and evaluation.

Stages that are compared take turns, so that a busy machine is unfair to none. Without weights the network is random and
calibrated to find a usual number of objects, as otherwise the time of all that follows it would mean nothing.
"""

import copy
import json
import math
import multiprocessing
import re
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import update_bn

from yolact.config import Config, override_config
from yolact.data.categories import Categories
from yolact.data.dataset import CocoDataset, GroundTruth
from yolact.data.images import image_files, read_image
from yolact.data.loader import Place, TrainingSet
from yolact.data.rendering import prepare_image, to_unit
from yolact.device import DTYPES, Precision, device_name, keep_freed_memory, versions
from yolact.engine.step import read_results, train_step
from yolact.engine.trainer import Trainer, training_set
from yolact.errors import UserError
from yolact.evaluation.coco import CocoEvaluator, Engine
from yolact.evaluation.encoding import MaskEncoder
from yolact.evaluation.run import NMS_KINDS, predict
from yolact.evaluation.speed import synchronize
from yolact.instances import Instances
from yolact.models import Yolact, build_model
from yolact.models.inference import for_inference
from yolact.models.points import PointHead
from yolact.ops.regions import regions_of
from yolact.postprocess import Detector
from yolact.predictor import LoadedModel, Predictor
from yolact.tools.shapes import write_shapes

Stage = Callable[[int], object]  # does its work for the input of this number
Row = tuple[str, dict[str, Any]]  # a name and what the JSON file holds; nothing where this machine cannot measure it
GENERATED, GENERATED_SIZE = 32, 640  # images where there are no others, and their longest side in pixels
MAX_IMAGES = 8  # of a folder: few enough to be in memory at once
CANDIDATES = 1000  # anchors of an image above the score threshold, of a calibrated network
WARMUP = 3  # untimed turns
CLASSES, DETECTIONS = 80, 100  # where nothing else is said; COCO's limit of an image
ENGINES: tuple[Engine, ...] = ("pycocotools", "hotcoco")
ON_DEVICE = ("latency", "throughput", "nms", "training")  # parts that a GPU can do


def timed(values: Sequence[float], num_images: int = 1) -> dict[str, Any]:
    """Return what the JSON file holds of calls, each for so many images, that took `values` milliseconds."""
    mean = statistics.fmean(values)
    return {
        "median_ms": statistics.median(values),
        "p95_ms": sorted(values)[round(0.95 * (len(values) - 1))],
        "min_ms": min(values),
        "mean_ms": mean,
        "per_second": 1000 * num_images / mean,  # images one after another follow the mean and not the median
        "calls": len(values),
    }


def take_turns(stages: Mapping[str, Stage], repeats: int, device: torch.device, num_images: int = 1) -> Iterator[Row]:
    """Call every stage `repeats` times by turns, after untimed ones, each turn in another order and with its number."""
    order = deque(stages)
    times: dict[str, list[float]] = {name: [] for name in stages}
    for turn in range(WARMUP + repeats):
        for name in order:
            synchronize(device)
            start = time.perf_counter()
            stages[name](turn)
            synchronize(device)
            times[name].append((time.perf_counter() - start) * 1000)
        order.rotate(-1)
    for name, values in times.items():
        yield name, timed(values[WARMUP:], num_images)


@dataclass(frozen=True)
class Benchmark:
    """What is measured, and how. Each part is a method that yields its rows.

    What is made at the first use does not go with it to another process.
    """

    loaded: LoadedModel  # on the CPU, with data that exist
    images: list[Path]
    folder: Path  # a temporary one, where `prepare` has put generated data
    device: torch.device
    precisions: tuple[Precision, ...]
    repeats: int  # timed calls of a stage; fewer of long ones
    batch_sizes: tuple[int, ...]
    num_images: int  # of the evaluation

    @property
    def config(self) -> Config:
        return self.loaded.config

    @cached_property
    def model(self) -> Yolact:
        """The model on its device."""
        return copy.deepcopy(self.loaded.model).to(self.device)

    @cached_property
    def networks(self) -> dict[Precision, Yolact]:
        """Copies of it that predict."""
        return {precision: for_inference(self.model, DTYPES[precision]) for precision in self.precisions}

    @cached_property
    def inputs(self) -> list[torch.Tensor]:
        """The images as the network takes them, uint8 [1, 3, S, S] each."""
        size = self.config.model.image_size
        return [prepare_image(read_image(path), size)[None].to(self.device) for path in self.images]

    @cached_property
    def samples(self) -> TrainingSet:
        """The training data as a training has them."""
        data = self.config.data
        dataset = CocoDataset(data.train_annotations, data.train_images, max_images=data.max_train_images)
        return training_set(self.config, dataset)

    def detector(self, **changes: Any) -> Detector:
        """Return the detector, with changed settings."""
        return Detector.of(self.model, replace(self.config.eval, **changes))

    def file_to_masks(self, precision: Precision) -> Stage:
        """Return the stage of a user's call."""
        predictor, files = Predictor(replace(self.loaded, model=self.model), precision), self.images
        return lambda i: predictor(files[i % len(files)], self.config.eval.score_threshold)

    def trainer(self, *overrides: str) -> Trainer:
        """Return a trainer of the network; its learning rate leaves the weights about as they are, and steps alike."""
        fixed = ["train.lr=1e-6", "train.warmup_lr=1e-6", "data.num_workers=0"]
        config, data = override_config(self.config, [*fixed, *overrides]), self.samples.dataset
        return Trainer(config, copy.deepcopy(self.loaded.model), self.folder, data, data, self.device)

    def training_step(self, precision: Precision) -> tuple[Trainer, Stage]:
        """Return a trainer and its step, all of it: `train_step`, with clipping, EMA and finite check, on one batch."""
        trainer = self.trainer(f"train.precision={precision}")
        batches = list(islice(trainer.batches(), trainer.config.train.accumulate))

        def step(_: int) -> None:
            train_step(trainer, batches)
            read_results(trainer)

        return trainer, step

    @torch.no_grad()
    def latency(self) -> Iterator[Row]:
        """Time the network, what follows it, and all from a file to masks of its size, one image at a time."""
        detector, names, ids = self.detector(), self.loaded.class_names, self.loaded.category_ids
        sizes = [(height, width) for height, width, _ in (read_image(path).shape for path in self.images)]

        def infer(i: int, network: Yolact, steps: int) -> None:
            place = i % len(self.inputs)
            predictions = predict(network, self.inputs[place])
            if steps > 1:
                found = detector.detect(predictions)
            if steps > 2:
                detector.instances(found, predictions.prototypes, 0, sizes[place], names, ids)

        stages: dict[str, Stage] = {}
        for precision, network in self.networks.items():
            for steps, name in enumerate(("network", "network + detection", "network + detection + masks"), 1):
                stages[f"{name}, {precision}"] = partial(infer, network=network, steps=steps)
            stages[f"file to masks, {precision}"] = self.file_to_masks(precision)
        yield from take_turns(stages, self.repeats, self.device)

    @torch.no_grad()
    def throughput(self) -> Iterator[Row]:
        """Time batches, from images to masks at the size of the prototypes."""
        detector = self.detector()

        def infer(_: int, network: Yolact, batch: torch.Tensor) -> None:
            predictions = predict(network, batch)
            detector.masks(detector.detect(predictions), predictions.prototypes)

        for size in self.batch_sizes:
            work = partial(infer, batch=torch.cat([self.inputs[i % len(self.inputs)] for i in range(size)]))
            stages = {f"batch of {size}, {key}": partial(work, network=n) for key, n in self.networks.items()}
            yield from take_turns(stages, max(3, self.repeats // 4), self.device, size)

    @torch.no_grad()
    def nms(self) -> Iterator[Row]:
        """Time detection with each kind of NMS on the predictions of one image."""
        predictions = predict(self.networks[self.precisions[0]], self.inputs[0])
        detectors = {str(kind): self.detector(nms=kind) for kind in NMS_KINDS}
        stages = {kind: partial(lambda one, _: one.detect(predictions), one) for kind, one in detectors.items()}
        yield from take_turns(stages, self.repeats, self.device)

    def loader(self) -> Iterator[Row]:
        """Time how one core makes training samples, as a worker of the loader does."""
        samples, threads = self.samples, torch.get_num_threads()
        stages: dict[str, Stage] = {
            "sample": lambda i: samples[Place(i, i % len(samples))],
            "of that, reading the image": lambda i: samples.dataset.load_image(i % len(samples)),
        }
        torch.set_num_threads(1)
        yield from take_turns(stages, 10 * self.repeats, torch.device("cpu"))
        torch.set_num_threads(threads)

    def training(self) -> Iterator[Row]:
        """Time training steps."""
        num_images = self.config.train.batch_size * self.config.train.accumulate
        for precision in self.precisions:
            stages = {f"step of {num_images} images, {precision}": self.training_step(precision)[1]}
            yield from take_turns(stages, max(3, self.repeats // 4), self.device, num_images)

    def many_images(self) -> CocoDataset:
        """Return the data set of an evaluation: the generated images, each taken many times."""
        path, times = self.folder / "evaluation.json", range(-(-self.num_images // GENERATED))
        content = json.loads((self.folder / "generated.json").read_text())
        images, objects = content["images"], content["annotations"]
        content["images"] = [{**image, "id": image["id"] + n * GENERATED} for n in times for image in images]
        content["annotations"] = [
            {**one, "id": one["id"] + n * len(objects), "image_id": one["image_id"] + n * GENERATED}
            for n in times for one in objects
        ]  # fmt: skip
        path.write_text(json.dumps(content))
        return CocoDataset(path, self.folder / "shapes/train")

    def evaluation(self) -> Iterator[Row]:
        """Time everything from the masks of many images to COCO's metrics."""
        dataset = self.many_images()
        found = [_find(dataset.ground_truth(index), dataset.categories) for index in range(GENERATED)]
        for engine in ENGINES:
            values = {}
            if find_spec(engine):
                start = time.perf_counter()
                with MaskEncoder(self.config.eval.num_workers) as encoder:
                    evaluator = CocoEvaluator(dataset, DETECTIONS, engine, encoder)
                    for index, image in enumerate(dataset.images):
                        evaluator.update(image.id, found[index % GENERATED], dataset.ground_truth(index))
                evaluator.compute()
                values = timed([1000 * (time.perf_counter() - start)], len(dataset))
            yield f"{len(dataset)} images, {engine}", values

    def memory(self) -> Iterator[Row]:
        """Measure the most memory that inference and training take, each in a process of its own."""
        for precision in self.precisions:
            for training, name in enumerate(("file to masks", "training step")):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    peaks = pool.submit(_peaks, replace(self), precision, bool(training)).result()
                for memory, peak in peaks.items():
                    yield f"{name}, {precision}, {memory}", {} if peak is None else {"peak_mb": peak / 2**20}


def _peaks(benchmark: Benchmark, precision: Precision, training: bool) -> dict[str, int | None]:
    """Return bytes of this process and of its GPU, None where nothing tells them."""
    on_gpu, status = benchmark.device.type == "cuda", Path("/proc/self/status")  # of Linux
    if not on_gpu:
        keep_freed_memory()  # as the commands do
    stage = benchmark.training_step(precision)[1] if training else benchmark.file_to_masks(precision)
    for number in range(WARMUP):
        stage(number)
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.is_file() else None
    gpu = torch.cuda.max_memory_allocated(benchmark.device) if on_gpu else None
    return {"process": int(found[1]) * 1024 if found else None, "GPU": gpu}


def _find(truth: GroundTruth, categories: Categories) -> Instances:
    """Return 100 detections: the objects of an image, again and again, half of them as any class."""
    chosen = torch.arange(DETECTIONS if len(truth.labels) else 0) % max(len(truth.labels), 1)
    scores, labels = torch.linspace(1, 0.05, len(chosen)), truth.labels[chosen]
    labels[::2] = torch.arange(len(chosen))[::2] % len(categories)
    masks, names, ids = regions_of(truth.masks[chosen]), list(categories.names), list(categories.ids)
    return Instances(truth.boxes[chosen], scores, labels, masks, scores, truth.image_size, names, ids)


@torch.no_grad()
def calibrate(model: Yolact, images: torch.Tensor, score: float, num_candidates: int = CANDIDATES) -> None:
    """Make a network of random weights find a usual number of objects, in place.

    Its batch norms and the outputs of its head take the spread that they have in trained networks, and on average
    `num_candidates` anchors or points of an image, of `images` float32 [B, 3, S, S] RGB in [0, 1], exceed `score`.
    """
    update_bn([images], model)  # their statistics become those of this batch
    predictions, head = model.eval()(images), model.head
    head.class_logits.weight /= predictions.class_logits.std()
    head.box_deltas.weight /= predictions.box_deltas.std()
    head.mask_coefficients.weight /= predictions.mask_coefficients.clamp(-0.999, 0.999).atanh().std()
    logits = model(images).class_logits.double()
    last = min(num_candidates * len(images), logits[..., 0].numel() - 1)
    if isinstance(head, PointHead):  # what must be added to a point's logits for its best class to have this score
        needed = (math.log(score / (1 - score)) - logits.amax(-1)).flatten().sort().values
        head.class_logits.get_parameter("bias").add_(needed[last - 1 : last + 1].mean())
        return
    best, others = logits[..., 1:].amax(-1), logits[..., 1:].exp().sum(-1)
    # What must be added to an anchor's background logit for its best class to have just this score.
    limits = ((best.exp() / score - others).clamp(min=1e-9).log() - logits[..., 0]).flatten().sort(descending=True)
    bias = head.class_logits.get_parameter("bias").view(-1, 1 + model.num_classes)
    bias[:, 0] += limits.values[last - 1 : last + 1].mean()


def prepare(config: Config, loaded: LoadedModel | None, images: Path | None, folder: Path, **how: Any) -> Benchmark:
    """Make what is missing: weights, images to measure on, and data to train on of as many classes, in `folder`.

    Raises:
        UserError: the folder `images` holds none.
    """
    num_classes = config.model.num_classes or CLASSES
    ids, names = list(range(1, 1 + num_classes)), [f"class {number}" for number in range(1, 1 + num_classes)]
    write_shapes(folder / "shapes", GENERATED, 1, GENERATED_SIZE)
    shapes, generated, data = folder / "shapes/train", folder / "generated.json", config.data
    content = json.loads((folder / "shapes/instances_train.json").read_text())
    content["categories"] = [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)]
    for record in content["annotations"]:
        record["category_id"] = 1 + record["id"] % num_classes
    generated.write_text(json.dumps(content))
    if not Path(data.train_annotations).is_file():
        data = replace(data, train_images=str(shapes), train_annotations=str(generated))
    config = replace(config, data=data, model=replace(config.model, num_classes=num_classes))
    files = image_files((images or shapes).glob("*"))[:MAX_IMAGES]
    if not files:
        raise UserError(f"'{images}' holds no images; give a folder of images with --images.")
    if loaded is None:
        torch.manual_seed(0)
        loaded = LoadedModel(build_model(config), config, names, ids)
        inputs = torch.stack([prepare_image(read_image(file), config.model.image_size) for file in files])
        calibrate(loaded.model, to_unit(inputs), config.eval.score_threshold)
    return Benchmark(replace(loaded, config=config), images=files, folder=folder, **how)


def measure(
    parts: Sequence[str], config: Config, loaded: LoadedModel | None, images: Path | None, **how: Any
) -> dict[str, Any]:
    """Measure parts, print a table as it grows, and return what the JSON file holds; `how` is of `Benchmark`."""
    result: dict[str, Any] = {"device": device_name(how["device"]), "versions": versions(), "config": config.name}
    with tempfile.TemporaryDirectory() as folder:
        benchmark = prepare(config, loaded, images, Path(folder), **how)
        print(f"{'':44}{'median ms':>13}{'p95 ms':>13}{'images/s':>13}{'peak MB':>13}")
        for part in parts:
            print(part)
            elsewhere: list[Row] = [("on a GPU", {})] if how["device"].type == "cpu" and part in ON_DEVICE else []
            result[part] = {}
            for name, found in chain(getattr(benchmark, part)(), elsewhere):
                columns = [found.get(key) for key in ("median_ms", "p95_ms", "per_second", "peak_mb")]
                shown = "".join(13 * " " if value is None else f"{value:13,.2f}" for value in columns)
                print(f"  {name:42}{shown.rstrip() or ' not measured'}", flush=True)
                result[part][name] = found
    return result
