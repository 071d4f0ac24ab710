"""What one GPU shows in a few minutes, a part at a time; scripts/gpu_check.sh runs them all.

python scripts/gpu_check.py PART OUT [--seconds S] [--rehearse]

Parts: ceilings, inference, training, nuclei, profile, compiled, evaluation; `table` shows what they found. Each adds
its rows to OUT/results.jsonl as they come. With --rehearse everything is tiny and a CPU will do.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import yolact
from yolact.config import load_config
from yolact.device import device_name, pick_device, resolve_precision, versions
from yolact.engine.callbacks import Callback
from yolact.engine.step import read_results, train_step
from yolact.engine.trainer import Trainer
from yolact.evaluation.run import evaluate
from yolact.evaluation.speed import synchronize
from yolact.predictor import Predictor
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.structures import Runtime
from yolact.tools.benchmark import Benchmark, prepare
from yolact.tools.timing import Stage, take_turns

CONFIGS = ("yolact_resnet50", "yolact_base", "next_r50")
NUCLEI_BATCH = 16  # those of the configurations are for a CPU
MASK_RCNN_CANDIDATES = 1000  # (box, class) pairs above its score threshold, as `calibrate` has them
COUNTED = {  # calls of CUDA's by which a kernel is started, and in which the host waits
    "launches": {"cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch"},
    "waits": {"cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy"},
}
COLUMNS = ("median_ms", "per_second", "peak_gb", "launches", "waits")


class Check:
    """Where a part runs and writes.

    Attributes:
        rehearsing: everything is tiny.
        seconds: of each training on the nuclei.
        device: the GPU, or while rehearsing what there is.
        precision: the lower one, if the device has it.
        names: of the configurations.
        batch_size: of a training step.
    """

    def __init__(self, part: str, out: Path, rehearsing: bool, seconds: float) -> None:
        self.part, self.out, self.rehearsing, self.seconds = part, out, rehearsing, seconds
        self.device = pick_device(None if rehearsing else "cuda")
        self.on_gpu = self.device.type == "cuda"
        self.precision = resolve_precision("auto", self.device)
        self.names = CONFIGS[:1] if rehearsing else CONFIGS
        self.batch_size = 2 if rehearsing else 8

    def add(self, name: str, **values: Any) -> None:
        """Add a row to the results, and show it."""
        row = {"part": self.part, "name": name, **values}
        with open(self.out / "results.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name}: {shown(values)}", flush=True)

    def turns(self, stages: dict[str, Stage], repeats: int, num_images: int = 1, **more: Any) -> None:
        """Add a row for each stage, all of them timed by turns."""
        for name, found in take_turns(stages, 1 if self.rehearsing else repeats, self.device, num_images):
            self.add(name, **found, **more)

    @contextmanager
    def benchmark(self, name: str) -> Iterator[Benchmark]:
        """Give a calibrated random network of a configuration, with generated images; a small one while rehearsing."""
        changes = ["train.image_size_order=random", "train.image_sizes=[]", "data.num_workers=0"]
        config = load_config(name, [*changes, *(["model.image_size=128"] if self.rehearsing else [])])
        with TemporaryDirectory() as folder:
            yield prepare(
                config, None, None, Path(folder), device=self.device, precisions=("fp32", self.precision), repeats=1,
                batch_sizes=(), num_images=64 if self.rehearsing else 5000,
            )  # fmt: skip


def shown(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def ceilings(check: Check) -> None:
    """The card, the versions, and how fast it multiplies and copies."""
    check.add("device", device=device_name(check.device), cudnn=torch.backends.cudnn.version(), **versions())
    side, length = (256, 2**20) if check.rehearsing else (8192, 2**31)
    a = torch.randn(side, side, device=check.device)
    lower, bytes_ = a.bfloat16(), torch.empty(length, dtype=torch.uint8, device=check.device).random_()
    target = torch.empty_like(bytes_)
    check.turns({f"bf16 matrix product of {side}": lambda _: lower @ lower}, 20, tera_operations=2 * side**3 / 1e12)
    check.turns({f"float32 matrix product of {side}": lambda _: a @ a}, 5, tera_operations=2 * side**3 / 1e12)
    check.turns({"copy": lambda _: target.copy_(bytes_)}, 20, terabytes=2 * length / 1e12)


def to_masks(benchmark: Benchmark, runtime: Runtime, size: int) -> Stage:
    """Return the stage from so many uint8 images to masks at the size of the prototypes, four batches in turn."""
    detector, images = benchmark.detector(nms="fast"), cycle(benchmark.inputs)
    batches = [torch.cat(list(islice(images, size))) for _ in range(4)]
    return lambda number: detector.masks(detector.detect(runtime(batches[number % 4])))


@torch.no_grad()
def inference(check: Check) -> None:
    """Latency and throughput up to masks in every runtime, beside torchvision's Mask R-CNN."""
    for name in check.names:
        with check.benchmark(name) as benchmark:
            predictors = {entry.label: entry.predictor for entry in benchmark.entries if entry.predictor}
            for size in (1, 2) if check.rehearsing else (1, 8, 32, 64):
                is_brief = name != CONFIGS[0] or size not in (1, 32)  # each batch size is compiled for half a minute
                stages = {
                    f"{name}, to masks, batch of {size}, {label}": to_masks(benchmark, predictor.runtime, size)
                    for label, predictor in predictors.items()
                    if not (is_brief and "compiled" in label)
                }
                check.turns(stages, 40 if size == 1 else 12, size)
            for label, predictor in predictors.items():
                if name == CONFIGS[0] or "compiled" not in label:
                    check.turns({f"{name}, file to masks, {label}": from_file(benchmark, predictor)}, 30)
    mask_rcnn(check)


def from_file(benchmark: Benchmark, predictor: Predictor) -> Stage:
    """Return the stage of a user's call."""
    files, threshold = benchmark.images, benchmark.config.eval.score_threshold
    return lambda number: predictor(files[number % len(files)], threshold)


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

    def find(size: int, lower: bool, number: int) -> None:
        with torch.autocast(check.device.type, torch.bfloat16, enabled=lower):
            model([images[(number + place) % len(images)] for place in range(size)])

    for size in (1, 8) if check.on_gpu else (1,):
        stages: dict[str, Stage] = {f"torchvision's Mask R-CNN, batch of {size}, fp32": partial(find, size, False)}
        if check.on_gpu:
            stages[f"torchvision's Mask R-CNN, batch of {size}, bf16 by autocast"] = partial(find, size, True)
        check.turns(stages, 20, size)


def watched(check: Check, work: Stage) -> profile:
    """Return what a profiler saw of a call."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if check.on_gpu else [])]
    with profile(activities=activities) as seen:
        work(0)
        synchronize(check.device)
    return seen


def counts(seen: profile) -> dict[str, int]:
    """Return how many kernels a call started, and how often the host waited in it."""
    names = [event.name for event in seen.events()]
    return {key: sum(name in wanted for name in names) for key, wanted in COUNTED.items()}


def training_steps(
    check: Check, benchmark: Benchmark, size: int, precision: str = "auto", compiled: bool = False
) -> None:
    """Time steps that follow one another without being read, on batches of so many images that are loaded."""
    trainer = benchmark.trainer(f"train.batch_size={size}", f"train.precision={precision}", f"train.compile={compiled}")
    batches = [[batch] for batch in islice(trainer.batches(), 4)]
    objects = statistics.fmean(count for [batch] in batches for count in batch.counts)

    def step(number: int) -> None:
        train_step(trainer, batches[number % 4])

    def seconds_of(count: int) -> float:
        start = time.perf_counter()
        for number in range(count):
            step(number)
        read_results(trainer)  # which waits
        return time.perf_counter() - start

    first = seconds_of(1)
    seconds_of(1 if check.rehearsing else 6)
    if check.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    count = 1 if check.rehearsing else 20
    seconds = seconds_of(count) / count
    peak = {"peak_gb": torch.cuda.max_memory_allocated() / 2**30} if check.on_gpu else {}
    name = f"{trainer.config.name}, step of {size}, {trainer.precision}" + ", compiled" * compiled
    check.add(
        name, median_ms=1000 * seconds, per_second=size / seconds, steps_per_second=1 / seconds, first_step_s=first,
        objects_per_image=objects, **peak, **counts(watched(check, step)),
    )  # fmt: skip


def training(check: Check) -> None:
    """Training steps, and how fast samples are made for them."""
    for name in check.names:
        with check.benchmark(name) as benchmark:
            training_steps(check, benchmark, check.batch_size)
            if name == CONFIGS[0]:
                training_steps(check, benchmark, check.batch_size, "fp32")
                loader(check, benchmark)
            training_steps(check, benchmark, 2 if check.rehearsing else 32)


def loader(check: Check, benchmark: Benchmark) -> None:
    """Time how fast the workers make batches that nobody uses."""
    workers, count = (0, 2) if check.rehearsing else (14, 150)
    trainer = benchmark.trainer(f"data.num_workers={workers}", f"train.batch_size={check.batch_size}")
    with closing(trainer.batches()) as source:
        next(source)
        start = time.perf_counter()
        for _ in islice(source, count):
            pass
        seconds = time.perf_counter() - start
    check.add(f"loader with {workers} workers", per_second=count * check.batch_size / seconds)


class Clock(Callback):
    """Notes when each step was done, and ends the training after `last` of them."""

    def __init__(self, last: int | None = None) -> None:
        self.times: list[float] = []
        self.last = last

    def on_step(self, trainer: Trainer) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) == self.last:
            trainer.stop()


def nuclei(check: Check) -> None:
    """Train on the nuclei, next and the paper's way, for a fixed time, and evaluate."""
    overrides = ["data.num_workers=14", "eval.num_workers=8", f"train.batch_size={NUCLEI_BATCH}"]
    if check.rehearsing:
        overrides = ["train.batch_size=2", "data.max_train_images=4", "eval.max_images=2", "data.num_workers=0"]
        overrides += ["eval.num_workers=0", "train.image_sizes=[64]", "model.image_size=64"]
    overrides += ["train.eval_every=null", "train.save_every=1000000"]
    for name in ("nuclei", "nuclei_paper"):
        with TemporaryDirectory() as folder:
            probe, clock = Clock(4 if check.rehearsing else 60), Clock()
            train = partial(yolact.train, runs=folder, device=check.device)
            train(load_config(name, overrides), name="probe", callbacks=[probe])
            half = probe.times[len(probe.times) // 2 :]
            steps = 3 if check.rehearsing else int(check.seconds * (len(half) - 1) / (half[-1] - half[0]))
            config = load_config(name, [*overrides, f"train.max_steps={steps}"])
            trainer = train(config, name="whole", callbacks=[clock])
            metrics: Any = trainer.metrics
            check.add(
                name, steps=steps, batch_size=config.train.batch_size, precision=trainer.precision,
                seconds=clock.times[-1] - clock.times[0], mask_ap=metrics["segm"]["AP"],
                mask_ap50=metrics["segm"]["AP50"], box_ap=metrics["bbox"]["AP"], milliseconds=metrics["milliseconds"],
            )  # fmt: skip


def profiled(check: Check) -> None:
    """The 30 longest operations of a training step and of an image, in OUT/profile.txt."""
    with check.benchmark(CONFIGS[0]) as benchmark, open(check.out / "profile.txt", "w", encoding="utf-8") as file:
        trainer = benchmark.trainer(f"train.batch_size={check.batch_size}", "train.precision=auto")
        [batch] = islice(trainer.batches(), 1)
        runtime = PyTorchRuntime(benchmark.model, check.precision)
        image = torch.no_grad()(to_masks(benchmark, runtime, 1))
        for name, work in (("step", lambda _: train_step(trainer, [batch])), ("image", image)):
            for number in range(3):
                work(number)
            synchronize(check.device)
            seen = watched(check, work)
            averages = seen.key_averages()
            for order in ("self_device_time_total", "self_cpu_time_total")[0 if check.on_gpu else 1 :]:
                print(name, averages.table(sort_by=order, row_limit=30, max_name_column_width=70), file=file, sep="\n")
            total = sum(event.self_device_time_total for event in averages) / 1000
            check.add(f"profile of one {name}", device_ms=total, **counts(seen))


def compiled(check: Check) -> None:
    """What train.compile brings, after what it replaces."""
    for name in [one for one in check.names if one != "yolact_base"]:
        with check.benchmark(name) as benchmark:
            training_steps(check, benchmark, check.batch_size)
            training_steps(check, benchmark, check.batch_size, compiled=True)


def evaluation(check: Check) -> None:
    """A whole evaluation over generated images, each taken many times."""
    with check.benchmark(CONFIGS[0]) as benchmark:
        data = benchmark.many_images()
        engine = "hotcoco" if find_spec("hotcoco") else benchmark.config.eval.engine
        settings = replace(benchmark.config.eval, num_workers=0 if check.rehearsing else 12, engine=engine)
        start = time.perf_counter()
        runtime = PyTorchRuntime(benchmark.model, check.precision)
        metrics = evaluate(runtime, data, settings, progress=False).metrics
        seconds = time.perf_counter() - start
        check.add(
            f"evaluation of {len(data)} images, {check.precision}", seconds=seconds, per_second=len(data) / seconds,
            fps=metrics["fps"], milliseconds=metrics["milliseconds"],
        )  # fmt: skip


def table(check: Check) -> None:
    """Write OUT/table.md: every row, a part after the other."""
    lines = [f"| part | what | {' | '.join(COLUMNS)} | more |", "| --- | --- |" + " ---: |" * len(COLUMNS) + " --- |"]
    for line in (check.out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        part, name = row.pop("part"), row.pop("name")
        cells = [f"{row.pop(key):.4g}" if key in row else "" for key in COLUMNS]
        lines.append(f"| {part} | {name} | {' | '.join(cells)} | {shown(row)} |")
    (check.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


PARTS = {
    "ceilings": ceilings, "inference": inference, "training": training, "nuclei": nuclei, "profile": profiled,
    "compiled": compiled, "evaluation": evaluation, "table": table,
}  # fmt: skip


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
