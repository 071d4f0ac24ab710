"""Speed and memory of what users wait for: inference in every runtime, training data, training steps and evaluation.

Stages that are compared take turns, so that a busy machine is unfair to none. Without weights the network is random and
calibrated to find a usual number of objects, as otherwise the time of all that follows it would mean nothing.
"""

import copy
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import update_bn

from yolact.config import Config, override_config
from yolact.data.categories import Categories
from yolact.data.dataset import CocoDataset, GroundTruth
from yolact.data.headers import image_files
from yolact.data.images import read_image
from yolact.data.loader import Place, TrainingSet
from yolact.data.rendering import prepare_image, to_unit
from yolact.data.samples import Colours, Pixels
from yolact.device import Precision, device_name, versions
from yolact.engine.step import read_results, train_step
from yolact.engine.trainer import Trainer, training_set
from yolact.errors import UserError
from yolact.evaluation.coco import CocoEvaluator, Engine
from yolact.evaluation.encoding import MaskEncoder
from yolact.instances import Instances
from yolact.loaded import LoadedModel
from yolact.models import Yolact, build_model
from yolact.models.points import PointHead
from yolact.ops.regions import regions_of
from yolact.postprocess import Detector
from yolact.structures import Runtime
from yolact.tools.report.speed_plot import Point, draw_speed
from yolact.tools.runtime_table import Entry, runtime_entries, runtime_table
from yolact.tools.shapes import write_shapes
from yolact.tools.timing import WARMUP, Row, Stage, in_a_process, peak_memory, take_turns, timed

GENERATED, GENERATED_SIZE = 32, 640  # images where there are no others, and their longest side in pixels
MAX_IMAGES = 8  # of a folder: few enough to be in memory at once
CANDIDATES = 1000  # anchors of an image above the score threshold, of a calibrated network
CLASSES, DETECTIONS = 80, 100  # where nothing else is said; COCO's limit of an image
ENGINES: tuple[Engine, ...] = ("pycocotools", "hotcoco")
ON_DEVICE = ("runtimes", "throughput", "training")  # parts that a GPU can do


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
    val_data: CocoDataset | None = None  # what AP is measured on, where there are weights that were trained

    @property
    def config(self) -> Config:
        return self.loaded.config

    @property
    def colours(self) -> Colours:
        return Colours.of(self.config)

    @cached_property
    def model(self) -> Yolact:
        """The model on its device."""
        return copy.deepcopy(self.loaded.model).to(self.device)

    @cached_property
    def entries(self) -> list["Entry"]:
        """The model in every runtime and precision that is installed."""
        return list(runtime_entries(self))

    @cached_property
    def pixels(self) -> list[Pixels]:
        """The images as they are read."""
        return [read_image(path, colours=self.colours) for path in self.images]

    @cached_property
    def inputs(self) -> list[torch.Tensor]:
        """The images as the network takes them, uint8 [1, C, H, W] each."""
        resize = self.loaded.model.resize
        return [prepare_image(image, resize)[None].to(self.device) for image in self.pixels]

    @cached_property
    def samples(self) -> TrainingSet:
        """The training data as a training has them."""
        data = self.config.data
        dataset = CocoDataset(
            data.train_annotations, data.train_images, max_images=data.max_train_images, colours=self.colours
        )
        return training_set(self.config, dataset, self.loaded.model)

    def detector(self, **changes: Any) -> Detector:
        """Return the detector, with changed settings."""
        return Detector.of(self.model, replace(self.config.eval, **changes))

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
    def runtimes(self) -> Iterator[Row]:
        """Time the network, detection, masks, and all from a file to masks, one image at a time, in every runtime."""
        yield from runtime_table(self)

    @torch.no_grad()
    def throughput(self) -> Iterator[Row]:
        """Time batches, from images to masks at the size of the prototypes."""
        detector = self.detector()

        def infer(_: int, runtime: Runtime, batch: torch.Tensor) -> None:
            detector.masks(detector.detect(runtime(batch.to(runtime.device))))

        for size in self.batch_sizes:
            work = partial(infer, batch=torch.cat([self.inputs[i % len(self.inputs)] for i in range(size)]))
            entries = {entry.label: entry.predictor for entry in self.entries if entry.predictor}
            stages = {f"batch of {size}, {key}": partial(work, runtime=p.runtime) for key, p in entries.items()}
            yield from take_turns(stages, max(3, self.repeats // 4), self.device, size)

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
        """Time training steps, and measure the most memory that they take, in a process of its own."""
        num_images = self.config.train.batch_size * self.config.train.accumulate
        for precision in self.precisions:
            stages = {f"step of {num_images} images, {precision}": self.training_step(precision)[1]}
            yield from take_turns(stages, max(3, self.repeats // 4), self.device, num_images)
            for memory, peak in in_a_process(_peaks, replace(self), precision).items():
                yield f"{memory} memory, {precision}", {} if peak is None else {"peak_mb": peak / 2**20}

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


def _peaks(benchmark: Benchmark, precision: Precision) -> dict[str, int | None]:
    """Return bytes of this process and of its GPU that a training step takes, None where nothing tells them."""
    stage = benchmark.training_step(precision)[1]
    for number in range(WARMUP):
        stage(number)
    gpu = torch.cuda.max_memory_allocated(benchmark.device) if benchmark.device.type == "cuda" else None
    return {"process": peak_memory(), "GPU": gpu}


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
    `num_candidates` anchors or points of an image, of `images` float32 [B, C, H, W] in [0, 1], exceed `score`.
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
        UserError: the folder `images` holds none, or images would have to be generated that the model does not take.
    """
    colours, has_data = Colours.of(config), Path(config.data.train_annotations).is_file()
    if not colours.has_colours and not (images and has_data):
        raise UserError(
            f"Generated images have 3 channels and the model {colours.channels} (model.channels): give a folder of "
            "images with --images, and a data set with --set data.train_annotations=FILE data.train_images=DIR."
        )
    num_classes = config.model.num_classes or CLASSES
    ids, names = list(range(1, 1 + num_classes)), [f"class {number}" for number in range(1, 1 + num_classes)]
    write_shapes(folder / "shapes", GENERATED, 1, GENERATED_SIZE)
    shapes, generated, data = folder / "shapes/train", folder / "generated.json", config.data
    content = json.loads((folder / "shapes/instances_train.json").read_text())
    content["categories"] = [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)]
    for record in content["annotations"]:
        record["category_id"] = 1 + record["id"] % num_classes
    generated.write_text(json.dumps(content))
    if not has_data:
        data = replace(data, train_images=str(shapes), train_annotations=str(generated))
    config = replace(config, data=data, model=replace(config.model, num_classes=num_classes))
    files = image_files((images or shapes).glob("*"))[0][:MAX_IMAGES]
    if not files:
        raise UserError(f"'{images}' holds no images; give a folder of images with --images.")
    if loaded is None:
        torch.manual_seed(0)
        loaded = LoadedModel(build_model(config), config, names, ids)
        inputs = torch.stack([prepare_image(read_image(file, colours=colours), loaded.model.resize) for file in files])
        calibrate(loaded.model, to_unit(inputs), config.eval.score_threshold)
    return Benchmark(replace(loaded, config=config), images=files, folder=folder, **how)


def speed_plot(result: Mapping[str, Any]) -> bytes | None:
    """Return a PNG of mask AP against FPS of the runtimes; None without any AP."""
    group = f"{result['config']}, {result['device']}"
    rows = result.get("runtimes", {}).items()
    points = [
        Point(name, row["fps"], 100 * row["mask_ap"], group) for name, row in rows if row.get("mask_ap") is not None
    ]
    if not points:
        return None
    stream = BytesIO()
    draw_speed(points, published=()).savefig(stream, format="png")
    return stream.getvalue()


def measure(
    parts: Sequence[str], config: Config, loaded: LoadedModel | None, images: Path | None, **how: Any
) -> dict[str, Any]:
    """Measure parts, print a table as it grows, and return what the JSON file holds; `how` is of `Benchmark`."""
    result: dict[str, Any] = {"device": device_name(how["device"]), "versions": versions(), "config": config.name}
    with tempfile.TemporaryDirectory() as folder:
        benchmark = prepare(config, loaded, images, Path(folder), **how)
        if not {"loader", "training"}.isdisjoint(parts):
            _ = benchmark.samples  # whose faults shall not end what took long
        for part in parts:
            heads = "" if part == "runtimes" else f"{'median ms':>13}{'p95 ms':>13}{'images/s':>13}{'peak MB':>13}"
            print(f"{part:44}{heads}".rstrip())
            elsewhere: list[Row] = [("on a GPU", {})] if how["device"].type == "cpu" and part in ON_DEVICE else []
            result[part] = {}
            for name, found in chain(getattr(benchmark, part)(), elsewhere):
                result[part][name] = found
                if part == "runtimes":
                    continue  # which prints its own table
                columns = [found.get(key) for key in ("median_ms", "p95_ms", "per_second", "peak_mb")]
                shown = "".join(13 * " " if value is None else f"{value:13,.2f}" for value in columns)
                print(f"  {name:42}{shown.rstrip() or ' not measured'}", flush=True)
    return result
