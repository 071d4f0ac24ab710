"""What one GPU shows in a few minutes, a part at a time; scripts/gpu_check.sh runs them all.

python scripts/gpu_check.py PART OUT [--seconds S] [--rehearse]

Parts: ceilings, inference, training, nuclei, profile, compiled, evaluation; `table` shows what they found. Each adds
its rows to OUT/results.jsonl as they come. With --rehearse everything is tiny and a CPU will do.
"""

import argparse
import copy
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import yolact
from yolact.config import Config, load_config, override_config
from yolact.data import CocoDataset
from yolact.data.loader import Batch
from yolact.device import DTYPES, device_name, pick_device, resolve_precision, versions
from yolact.engine.callbacks import Callback
from yolact.engine.step import read_results, train_step
from yolact.engine.trainer import Trainer
from yolact.evaluation.run import evaluate, predict
from yolact.evaluation.speed import synchronize
from yolact.models.inference import for_inference
from yolact.predictor import Predictor
from yolact.tools.benchmark import Benchmark, prepare

Work = Callable[[int], object]
Find = Callable[[Tensor], Any]
CONFIGS = ("yolact_resnet50", "yolact_base", "next_r50")
SYNCHRONISATIONS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch")
NUCLEI_BATCH = 16  # those of the configurations are for a CPU
MASK_RCNN_CANDIDATES = 1000  # (box, class) pairs above its score threshold, as `calibrate` has them


class Check:
    """Where a part runs and writes.

    Attributes:
        rehearsing: everything is tiny.
        seconds: of each training on the nuclei.
        device: the GPU, or while rehearsing what there is.
    """

    def __init__(self, part: str, out: Path, rehearsing: bool, seconds: float) -> None:
        self.part, self.out, self.rehearsing, self.seconds = part, out, rehearsing, seconds
        self.device = pick_device(None if rehearsing else "cuda")
        self.on_gpu = self.device.type == "cuda"

    def add(self, name: str, **values: Any) -> None:
        """Add a row to the results, and show it."""
        row = {"part": self.part, "name": name, **values}
        with open(self.out / "results.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(shown(row), flush=True)

    def config(self, name: str, *overrides: str) -> Config:
        """Return a configuration, small ones while rehearsing."""
        small = ["model.image_size=128", "train.image_sizes=[]"] if self.rehearsing else []
        return load_config(name, ["train.backbone_weights=none", "train.image_size_order=random", *small, *overrides])

    @contextmanager
    def benchmark(self, config: Config) -> Iterator[Benchmark]:
        """Give a calibrated random network with generated images."""
        with TemporaryDirectory() as folder:
            precisions = ("fp32", resolve_precision("auto", self.device))
            yield prepare(
                config, None, None, Path(folder), device=self.device, precisions=precisions, repeats=1,
                batch_sizes=(), num_images=64 if self.rehearsing else 5000,
            )  # fmt: skip

    def timed(self, work: Work, repeats: int, num_images: int = 1, warmup: int = 10) -> dict[str, float]:
        """Time calls one by one, each with another number and waited for: median milliseconds, wall and device."""
        repeats, warmup = (2, 1) if self.rehearsing else (repeats, warmup)
        wall, device = [], []
        for number in range(warmup + repeats):
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if self.on_gpu else []
            synchronize(self.device)
            start = time.perf_counter()
            for event in events[:1]:
                event.record()
            work(number)
            for event in events[1:]:
                event.record()
            synchronize(self.device)
            wall.append(1000 * (time.perf_counter() - start))
            if events:
                device.append(events[0].elapsed_time(events[1]))
        median = statistics.median(wall[warmup:])
        found = {"ms": median, "min_ms": min(wall[warmup:]), "images_per_s": 1000 * num_images / median}
        return found | ({"event_ms": statistics.median(device[warmup:])} if device else {})


def shown(row: dict[str, Any]) -> str:
    values = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()]
    return ", ".join(values[1:])


def ceilings(check: Check) -> None:
    """The card, the versions, and how fast it multiplies and copies."""
    check.add("device", device=device_name(check.device), cudnn=torch.backends.cudnn.version(), **versions())
    side, length = (256, 2**20) if check.rehearsing else (8192, 2**31)
    for name, dtype, tf32 in (("bf16", torch.bfloat16, False), ("tf32", torch.float32, True)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(side, side, device=check.device, dtype=dtype) for _ in range(2))
        found = check.timed(partial(lambda a, b, _: a @ b, a, b), 20)
        check.add(f"matrix product {side}, {name}", tflops=2 * side**3 / found["min_ms"] / 1e9, **found)
    torch.backends.cuda.matmul.allow_tf32 = False
    source, target = (torch.empty(length, dtype=torch.uint8, device=check.device) for _ in range(2))
    source.random_()
    found = check.timed(lambda _: target.copy_(source), 20)
    check.add("copy", tb_per_s=2 * length / found["min_ms"] / 1e9, **found)


class Graph:
    """A function of one tensor, captured as a CUDA graph; results are overwritten by the next call."""

    def __init__(self, function: Callable[[Tensor], Any], images: Tensor) -> None:
        self.images, stream = images.clone(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                function(self.images)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.results = function(self.images)

    def __call__(self, images: Tensor) -> Any:
        self.images.copy_(images)
        self.graph.replay()
        return self.results


def to_masks(benchmark: Benchmark, network: nn.Module) -> Find:
    """Return the function from uint8 images to detections and their masks at the size of the prototypes."""
    detector = benchmark.detector(nms="fast")

    def find(images: Tensor) -> Any:
        predictions = predict(network, images)
        detections = detector.detect(predictions)
        return detections, detector.masks(detections, predictions.prototypes)

    return find


def stages_of(benchmark: Benchmark, network: nn.Module) -> dict[str, Find]:
    """Return the two lengths to which an image's way is followed."""
    return {"network": partial(predict, network), "to masks": to_masks(benchmark, network)}


def batches_of(benchmark: Benchmark, size: int, count: int = 8) -> list[Tensor]:
    """Return batches that differ, on the device."""
    images = cycle(benchmark.inputs)
    return [torch.cat(list(islice(images, size))) for _ in range(count)]


def rotating(function: Callable[[Tensor], object], batches: list[Tensor]) -> Work:
    """Return the work of a call on each of the batches in turn."""
    return lambda number: function(batches[number % len(batches)])


@torch.no_grad()
def inference(check: Check) -> None:
    """Latency and throughput of networks, of what follows them, and from file to masks."""
    sizes, lower = (2,) if check.rehearsing else (8, 32, 64), resolve_precision("auto", check.device)
    for name in CONFIGS[:1] if check.rehearsing else CONFIGS:
        with check.benchmark(check.config(name)) as benchmark:
            plain, lean = benchmark.model, for_inference(benchmark.model, DTYPES[lower])
            networks = {"plain fp32": plain, "folded fp32": for_inference(plain), lower: lean}
            singles = batches_of(benchmark, 1)
            for label, network in networks.items():
                for stage, function in stages_of(benchmark, network).items():
                    check.add(f"{name}, {stage}, batch of 1, {label}", **check.timed(rotating(function, singles), 60))
            if check.on_gpu:
                for stage, function in stages_of(benchmark, lean).items():
                    found = check.timed(rotating(Graph(function, singles[0]), singles), 100)
                    check.add(f"{name}, {stage}, batch of 1, {lower} as one graph", **found)
            for precision in ("fp32", lower):
                row = check.timed(benchmark.file_to_masks(precision), 40)
                check.add(f"{name}, file to masks, {precision}", **row)
            for size in sizes:
                batches = batches_of(benchmark, size, 4)
                for label, network in networks.items():
                    function = to_masks(benchmark, network)
                    found = check.timed(rotating(function, batches), 12, size, 4)
                    check.add(f"{name}, to masks, batch of {size}, {label}", **found)
        torch.cuda.empty_cache()
    mask_rcnn(check)
    parts_of_file_to_masks(check)


@torch.no_grad()
def mask_rcnn(check: Check) -> None:
    """Torchvision's Mask R-CNN on images of COCO's size, as it comes, and under autocast."""
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    model.to(check.device)
    seen: list[Tensor] = []
    head: Any = model.roi_heads
    hook = head.box_predictor.register_forward_hook(lambda _, __, outputs: seen.append(outputs[0]))
    images = [torch.rand(3, 480, 640, device=check.device) for _ in range(8)]
    head.box_predictor.cls_score.weight *= 20
    model(images[:1])
    head.score_thresh = float(seen[0].softmax(-1)[:, 1:].flatten().topk(MASK_RCNN_CANDIDATES).values[-1])
    hook.remove()
    for size in (1,) if check.rehearsing else (1, 8):
        for label, lower in (("fp32", False), ("autocast", True))[: 2 if check.on_gpu else 1]:

            def work(i: int, size: int = size, lower: bool = lower) -> None:
                with torch.autocast(check.device.type, torch.bfloat16, enabled=lower):
                    model([images[(i + n) % len(images)] for n in range(size)])

            check.add(f"torchvision's Mask R-CNN, batch of {size}, {label}", **check.timed(work, 20, size, 4))


@torch.no_grad()
def parts_of_file_to_masks(check: Check) -> None:
    """Where the time from a file to masks goes."""
    from yolact.data.images import read_image
    from yolact.data.rendering import prepare_image

    with check.benchmark(check.config(CONFIGS[0])) as benchmark:
        network, detector = benchmark.networks[benchmark.precisions[1]], benchmark.detector()
        files, size = benchmark.images, benchmark.config.model.image_size
        images = [read_image(file) for file in files]
        predictions = predict(network, benchmark.inputs[0])
        found = detector.detect(predictions)
        names, ids = benchmark.loaded.class_names, benchmark.loaded.category_ids
        sizes = (images[0].shape[0], images[0].shape[1])
        stages: dict[str, Work] = {
            "read": lambda i: read_image(files[i % len(files)]),
            "resize": lambda i: prepare_image(images[i % len(images)], size),
            "to the device": lambda i: prepare_image(images[0], size)[None].to(check.device),
            "network": lambda i: predict(network, benchmark.inputs[i % len(files)]),
            "detect": lambda _: detector.detect(predictions),
            "instances": lambda _: detector.instances(found, predictions.prototypes, 0, sizes, names, ids),
        }
        for name, work in stages.items():
            check.add(f"of file to masks: {name}", objects=int(found.counts[0]), **check.timed(work, 30))


def counts(work: Work, steps: int = 2) -> dict[str, float]:
    """Return kernels launched and synchronisations of the host for each call."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for number in range(steps):
            work(number)
    names = [event.name for event in seen.events()]
    return {
        "launches": sum(name in LAUNCHES for name in names) / steps,
        "synchronisations": sum(name in SYNCHRONISATIONS for name in names) / steps,
    }


def training_steps(check: Check, benchmark: Benchmark, label: str, counted: bool, *overrides: str) -> None:
    """Time steps that follow one another without being read, on batches that are on the device.

    With `counted` a profiler counts what they start and wait for, which takes some seconds.
    """
    config = override_config(benchmark.config, ["train.lr=1e-6", "train.warmup_lr=1e-6", *overrides])
    config = replace(config, data=replace(config.data, num_workers=0))
    data, size = benchmark.samples.dataset, config.train.batch_size
    trainer = Trainer(config, copy.deepcopy(benchmark.loaded.model), benchmark.folder, data, data, check.device)
    batches = [[on_device(batch, check.device)] for batch in islice(trainer.batches(), 4)]
    objects = statistics.fmean(len(target["labels"]) for [batch] in batches for target in batch.targets)
    repeats, warmup = (1, 1) if check.rehearsing else (20, 6)
    start = time.perf_counter()
    train_step(trainer, batches[0])
    read_results(trainer)
    first = time.perf_counter() - start
    for number in range(warmup):
        train_step(trainer, batches[number % 4])
    read_results(trainer)
    if check.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for number in range(repeats):
        train_step(trainer, batches[number % 4])
    enqueued = time.perf_counter() - start
    synchronize(check.device)
    seconds = (time.perf_counter() - start) / repeats
    peak = {"peak_gb": torch.cuda.max_memory_allocated() / 2**30} if check.on_gpu else {}
    found = counts(lambda i: train_step(trainer, batches[i % 4])) if counted and check.on_gpu else {}
    check.add(
        f"{config.name}, step of {size}, {trainer.precision}{label}", steps_per_s=1 / seconds,
        images_per_s=size / seconds, ms=1000 * seconds, host_ms=1000 * enqueued / repeats, first_step_s=first,
        objects_per_image=objects, **peak, **found,
    )  # fmt: skip


def on_device(batch: Batch, device: torch.device) -> Batch:
    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    targets: Any = [{name: moved(value) for name, value in target.items()} for target in batch.targets]
    return batch._replace(images=moved(batch.images), targets=targets)


def training(check: Check) -> None:
    """Training steps, and how fast samples are made for them."""
    small, large = (2, 2) if check.rehearsing else (8, 32)
    for name in CONFIGS[:1] if check.rehearsing else CONFIGS:
        with check.benchmark(check.config(name)) as benchmark:
            size = f"train.batch_size={small}"
            training_steps(check, benchmark, "", True, size, "train.precision=auto")
            if name == CONFIGS[0]:
                training_steps(check, benchmark, "", False, size, "train.precision=fp32")
                loader(check, benchmark, small)
            training_steps(check, benchmark, "", False, f"train.batch_size={large}", "train.precision=auto")


def loader(check: Check, benchmark: Benchmark, size: int) -> None:
    """Time how fast the workers make batches that nobody uses."""
    workers, count = (0, 2) if check.rehearsing else (14, 150)
    config = override_config(benchmark.config, [f"data.num_workers={workers}", f"train.batch_size={size}"])
    data = benchmark.samples.dataset
    trainer = Trainer(config, copy.deepcopy(benchmark.loaded.model), benchmark.folder, data, data, check.device)
    with closing(trainer.batches()) as source:
        next(source)
        start = time.perf_counter()
        for _ in islice(source, count):
            pass
        check.add(f"loader with {workers} workers", images_per_s=count * size / (time.perf_counter() - start))


class Clock(Callback):
    """A callback that notes when each step was done, and ends the training after so many."""

    def __init__(self, last: int | None = None) -> None:
        self.times: list[float] = []
        self.last = last

    def on_step(self, trainer: Trainer) -> None:
        self.times.append(time.perf_counter())
        if self.last is not None and len(self.times) >= self.last:
            trainer.stop()


def nuclei(check: Check) -> None:
    """Train on the nuclei, the paper's way and next, for a fixed time, and evaluate."""
    for name in ("nuclei", "nuclei_paper"):
        workers, evaluating = (0, 0) if check.rehearsing else (14, 8)
        overrides = [f"data.num_workers={workers}", f"eval.num_workers={evaluating}", "train.eval_every=null"]
        if check.rehearsing:
            overrides += [
                "data.max_train_images=4",
                "eval.max_images=2",
                "train.image_sizes=[64]",
                "model.image_size=64",
            ]
        overrides += ["train.save_every=1000000", f"train.batch_size={2 if check.rehearsing else NUCLEI_BATCH}"]
        with TemporaryDirectory() as folder:
            probe = Clock(3 if check.rehearsing else 60)
            train = partial(yolact.train, runs=folder, device=check.device)
            train(load_config(name, overrides), name="probe", callbacks=[probe])
            half = probe.times[len(probe.times) // 2 :]
            rate = (len(half) - 1) / (half[-1] - half[0])
            steps = 3 if check.rehearsing else int(rate * check.seconds)
            clock = Clock()
            trainer = train(
                load_config(name, [*overrides, f"train.max_steps={steps}"]), name="whole", callbacks=[clock]
            )
            metrics = trainer.metrics
            assert metrics is not None
            check.add(
                name, steps=steps, batch_size=trainer.config.train.batch_size, precision=trainer.precision,
                seconds=clock.times[-1] - clock.times[0], steps_per_s=rate, mask_ap=metrics["segm"]["AP"],
                mask_ap50=metrics["segm"]["AP50"], box_ap=metrics["bbox"]["AP"], milliseconds=metrics["milliseconds"],
            )  # fmt: skip


def profiled(check: Check) -> None:
    """The 30 longest operations of a training step and of an image, in OUT/profile.txt."""
    size = 2 if check.rehearsing else 8
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if check.on_gpu else [])]
    order = "self_device_time_total" if check.on_gpu else "self_cpu_time_total"
    config = check.config(CONFIGS[0], f"train.batch_size={size}", "train.precision=auto", "data.num_workers=0")
    with check.benchmark(config) as benchmark, open(check.out / "profile.txt", "w", encoding="utf-8") as file:
        data = benchmark.samples.dataset
        config = replace(config, model=benchmark.config.model, data=replace(benchmark.config.data, num_workers=0))
        find = to_masks(benchmark, benchmark.networks[benchmark.precisions[1]])
        trainer = Trainer(config, benchmark.model, benchmark.folder, data, data, check.device)
        [batch] = islice(trainer.batches(), 1)

        @torch.no_grad()
        def image(_: int) -> None:
            find(benchmark.inputs[0])

        for name, work in (("step", lambda _: train_step(trainer, [batch])), ("image", image)):
            for number in range(3):
                work(number)
            synchronize(check.device)
            with profile(activities=activities) as seen:
                work(0)
                synchronize(check.device)
            averages = seen.key_averages()
            for by in dict.fromkeys((order, "self_cpu_time_total")):
                print(name, by, averages.table(sort_by=by, row_limit=30, max_name_column_width=70), file=file, sep="\n")
            if check.on_gpu:
                total = sum(event.self_device_time_total for event in averages) / 1000
                check.add(f"profile of one {name}", device_ms=total, **counts(work))


def compiled(check: Check) -> None:
    """What `yolact.load(compiled=True)` and train.compile bring, each after what they replace."""
    step = [f"train.batch_size={2 if check.rehearsing else 8}", "train.precision=auto"]
    for name in CONFIGS[:1] if check.rehearsing else (CONFIGS[0], CONFIGS[2]):
        with check.benchmark(check.config(name)) as benchmark:
            compiled_inference(check, benchmark, False, 1)
            compiled_inference(check, benchmark, True, 1)
            training_steps(check, benchmark, "", True, *step)
            with reported():
                training_steps(check, benchmark, ", compiled", True, *step, "train.compile=true")
            if not check.rehearsing:
                compiled_inference(check, benchmark, True, 32)


@contextmanager
def reported() -> Iterator[None]:
    """Show what goes wrong in the block, and go on after it."""
    try:
        yield
    except Exception:
        traceback.print_exc()


@torch.no_grad()
def compiled_inference(check: Check, benchmark: Benchmark, flag: bool, size: int) -> None:
    """Time a predictor's way to masks of so many images, and from a file to the masks of one."""
    precision, detector = resolve_precision("auto", check.device), benchmark.detector()
    predictor = Predictor(replace(benchmark.loaded, model=benchmark.model), precision, compiled=flag)
    label = f"{benchmark.config.name}, {{}}, {precision}{', compiled' if flag else ''}"

    def find(images: Tensor) -> Tensor:
        detections, prototypes = predictor.detections(images, benchmark.config.eval.score_threshold)
        return detector.masks(detections, prototypes)

    batches, start = batches_of(benchmark, size, 4), time.perf_counter()
    find(batches[0])
    synchronize(check.device)
    first = time.perf_counter() - start
    found = check.timed(rotating(find, batches), 40 if size == 1 else 12, size, 6)
    check.add(label.format(f"to masks, batch of {size}"), first_call_s=first, **found)
    if size == 1:
        files = benchmark.images
        for name, limit in (("100 objects", benchmark.config.eval.score_threshold), ("as shown", None)):
            found = check.timed(partial(_from_file, predictor, files, limit), 24)
            check.add(label.format(f"file to masks, {name}"), objects=len(predictor(files[0], limit)), **found)


def _from_file(predictor: Predictor, files: list[Path], threshold: float | None, number: int) -> None:
    predictor(files[number % len(files)], threshold)


def evaluation(check: Check) -> None:
    """A whole evaluation over generated images, each taken many times."""
    with check.benchmark(check.config(CONFIGS[0])) as benchmark:
        list(islice(benchmark.evaluation(), 1))  # writes the annotations of so many images
        data = CocoDataset(benchmark.folder / "evaluation.json", benchmark.folder / "shapes/train")
        settings = replace(benchmark.config.eval, num_workers=0 if check.rehearsing else 12)
        if not check.rehearsing:
            with suppress(ImportError):
                import hotcoco  # noqa: F401

                settings = replace(settings, engine="hotcoco")
        start = time.perf_counter()
        precision = resolve_precision("auto", check.device)
        metrics = evaluate(benchmark.model, data, settings, precision, progress=False).metrics
        seconds = time.perf_counter() - start
        check.add(
            f"evaluation of {len(data)} images, {precision}", seconds=seconds, images_per_s=len(data) / seconds,
            fps=metrics["fps"], milliseconds=metrics["milliseconds"],
        )  # fmt: skip


def table(check: Check) -> None:
    """Write OUT/table.md: every row, a part after the other."""
    rows = [json.loads(line) for line in (check.out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    keys = ("ms", "event_ms", "images_per_s", "steps_per_s", "peak_gb", "launches", "synchronisations")
    lines = [f"| part | what | {' | '.join(keys)} | more |", "| --- | --- |" + " ---: |" * len(keys) + " --- |"]
    for row in rows:
        cells = [f"{row[key]:.4g}" if key in row else "" for key in keys]
        more = shown(
            {"": "", **{key: value for key, value in row.items() if key not in (*keys, "part", "name", "min_ms")}}
        )
        lines.append(f"| {row['part']} | {row['name']} | {' | '.join(cells)} | {more} |")
    (check.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


PARTS = {
    "ceilings": ceilings, "inference": inference, "training": training, "nuclei": nuclei, "profile": profiled,
    "compiled": compiled, "evaluation": evaluation, "table": table,
}  # fmt: skip


def pytest_runtest_logreport(report: Any) -> None:
    """Show each failure at once, as the time of the tests may end: `pytest -p scripts.gpu_check`."""
    if report.failed:
        print(f"\n{report.nodeid}\n{report.longreprtext[-3000:]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each training on the nuclei (default: 60)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    PARTS[arguments.part](Check(arguments.part, arguments.out, arguments.rehearse, arguments.seconds))


if __name__ == "__main__":
    main()
