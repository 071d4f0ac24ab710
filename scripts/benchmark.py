"""Measure speed and memory, of this project alone or beside another implementation.

python scripts/benchmark.py data --config configs/yolact_base.yaml
python scripts/benchmark.py all --config configs/yolact_resnet50.yaml --pictures DIR --output benchmark

Stages, of the images and pictures one after the other where nothing else is said:
  parts       decode, prepare, backbone, FPN, protonet, head, NMS, masks, encode
  network     from the image to raw predictions
  throughput  from images to masks as large as the prototypes, one at a time and in batches
  paper       what the paper's frames per second count: network, detection, masks of the picture's size
  files       from the file to masks of the picture's size
  detection   what follows the network, for two sizes of the picture;  nms  Fast NMS alone
  data        training samples;  loss  forward and backward;  steps  whole training steps
  evaluation  COCO's figures of many pictures
  memory      of inference, training and a loader's process
  all

`--compare FILE.py` measures another implementation in the same run, by turns: a Python file of yours with a function
for each stage. The docstrings of yolact/benchmark/*.py say which. Both get the same weights and inputs. In the longer
stages (network, throughput, paper, files, detection, steps) the other one has a process of its own.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from yolact.benchmark import data, evaluation, inference, parts, training
from yolact.benchmark.apart import other_process
from yolact.benchmark.memory import measure_memory
from yolact.benchmark.other import COMPARED, base_name, load_builder
from yolact.benchmark.plot import write_bars
from yolact.benchmark.synthetic import settle
from yolact.benchmark.timing import Times
from yolact.compat import dbolya
from yolact.config import Config, load_config
from yolact.device import pick_device, resolve_precision
from yolact.errors import UserError, exit_on_user_error
from yolact.evaluation.coco import Engine
from yolact.evaluation.run import device_name, versions
from yolact.models import Yolact, build_model
from yolact.output import output_folder, write_json
from yolact.predictor import LoadedModel, load_model

ENGINES: list[Engine] = ["hotcoco", "pycocotools"]


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse_arguments(argv)
    names = list(STAGES) if arguments.stage == "all" else [arguments.stage]
    result: dict[str, Any] = {"device": device_name(pick_device("cpu")), "versions": versions()}
    config = load_config(arguments.config, arguments.set)
    with (
        output_folder(arguments.output) if arguments.output else nullcontext() as output,
        weights_file(config, arguments.weights) as (model, weights),
    ):
        for name in names:
            result[name] = STAGES[name](arguments, config, model, weights)
        if output:
            write_json(result, output / "benchmark.json", indent=2)
            write_bars(result, output / "benchmark.png")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument(
        "--config", default="configs/yolact_resnet50.yaml", help="default: configs/yolact_resnet50.yaml"
    )
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint; default: random weights")
    parser.add_argument("--compare", type=Path, metavar="FILE.py", help="another implementation")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="*.jpg files, for parts, paper, files and memory")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each stage (default: 20)")
    parser.add_argument("--batch-size", type=int, default=8, help="for the stage 'throughput' (default: 8)")
    parser.add_argument("--num-pictures", type=int, default=5000, help="for the stage 'evaluation' (default: 5000)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write benchmark.json and benchmark.png there")
    return parser.parse_args(argv)


@contextmanager
def weights_file(config: Config, given: Path | None) -> Iterator[tuple[Yolact, Path]]:
    """Build the network, without given weights with random ones, and write them as the authors name their tensors."""
    torch.manual_seed(0)
    model = load_model(given, "cpu", config).model if given else build_model(config).eval()
    if given is None:
        settle(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{config.name}_0_0.pth"
        torch.save(dbolya.export(model.state_dict()), path)
        yield model, path


def builder_of(arguments: argparse.Namespace, name: str) -> Callable[..., Any] | None:
    """Return the compared implementation's function for a stage, if there is one."""
    return load_builder(arguments.compare, name) if arguments.compare else None


def builder_apart(arguments: argparse.Namespace, name: str) -> AbstractContextManager[Callable[..., Any] | None]:
    """Give the compared implementation's function for a stage in a process of its own, if there is one."""
    return other_process(arguments.compare, name) if arguments.compare else nullcontext()


def precisions() -> list[Any]:
    """Return fp32, and bf16 where the CPU computes it."""
    return ["fp32"] if resolve_precision("auto", pick_device("cpu")) == "fp32" else ["fp32", "bf16"]


def run_data(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    threads = torch.get_num_threads()
    times = data.measure_data(config, max(200, arguments.repeats), arguments.compare)
    torch.set_num_threads(threads)
    return show(times, per_second=True)


def run_memory(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    """Measure each stage in a process of its own."""
    large = inference.PICTURE_SIZES[-1]
    work: dict[str, tuple[Any, ...]] = {
        f"detect and masks {large[1]} x {large[0]}": (inference.build_detection, config, None, large),
        **{f"training step {p}": (training.build_step, config, p, None, weights, 2) for p in precisions()},
    }
    if Path(config.data.train_annotations).is_file():
        work["sample"] = (data.build_worker, config, None, "sample")
    picture = pictures_of(arguments)[0] if arguments.pictures else None
    if picture:
        for p in precisions():
            work[f"file to masks {p}"] = (inference.build_files, config, p, None, weights, picture)
    if arguments.compare:
        names = ("data", "detect_and_masks", "training_step", "file_to_masks")
        builders = {name: builder_of(arguments, name) for name in names}
        if picture and builders["file_to_masks"]:
            name = "file to masks" + COMPARED
            work[name] = (inference.build_files, config, "fp32", arguments.compare, weights, picture)
        if "sample" in work and builders["data"]:
            work[data.OTHER] = (data.build_worker, config, arguments.compare, data.OTHER)
        if builders["detect_and_masks"]:
            name = f"detect and masks {large[1]} x {large[0]}{COMPARED}"
            work[name] = (inference.build_detection, config, arguments.compare, large)
        if builders["training_step"]:
            work["training step" + COMPARED] = (training.build_step, config, "fp32", arguments.compare, weights, 2)
    found = {}
    print(f"\n{'':42}{'peak MB':>10}{'of that by the work':>22}")
    for name, (build, *rest) in sorted(work.items()):
        memory = measure_memory(build, *rest, repeats=100 if name.startswith("sample") else 3)
        found[name] = memory._asdict()
        peak, grown = ("unknown" if value is None else f"{value / 2**20:.0f}" for value in memory)
        print(f"{name:42}{peak:>10}{grown:>22}")
    return found


def run_network(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    with builder_apart(arguments, "network") as builder:
        return show(inference.measure_network(model, weights, builder, precisions(), arguments.repeats))


def run_throughput(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    sizes, repeats = sorted({1, arguments.batch_size}), max(3, arguments.repeats // 4)
    with builder_apart(arguments, "throughput") as builder:
        return show(inference.measure_throughput(model, config, weights, builder, precisions(), repeats, sizes))


def run_parts(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    here = nullcontext(builder_of(arguments, "parts"))
    return on_pictures(parts.measure_parts, here, arguments, config, model, weights)


def run_files(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    apart = builder_apart(arguments, "file_to_masks")
    return on_pictures(inference.measure_files, apart, arguments, config, model, weights)


def run_paper(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    return on_pictures(inference.measure_paper, builder_apart(arguments, "paper"), arguments, config, model, weights)


def on_pictures(
    measure: Callable[..., dict[str, Times]], other: AbstractContextManager[Callable[..., Any] | None],
    arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path
) -> dict[str, Any]:  # fmt: skip
    """Measure a stage that works on picture files."""
    pictures, ids = pictures_of(arguments), range(1, 1 + model.num_classes)
    loaded = LoadedModel(model, config, [f"class {i}" for i in ids], list(ids))
    with other as builder:
        return show(measure(loaded, weights, builder, precisions(), pictures, arguments.repeats))


def pictures_of(arguments: argparse.Namespace) -> list[Path]:
    if arguments.pictures is None:
        raise UserError(f"The stage '{arguments.stage}' needs pictures: give a folder of them by --pictures DIR.")
    pictures = sorted(arguments.pictures.glob("*.jpg"))
    if not pictures:
        raise UserError(f"'{arguments.pictures}' holds no .jpg files; give a folder of pictures by --pictures.")
    return pictures


def run_detection(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    with builder_apart(arguments, "detect_and_masks") as builder:
        return show(inference.measure_detection(model, config, builder, arguments.repeats))


def run_nms(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    return show(inference.measure_nms(model, config, builder_of(arguments, "nms"), arguments.repeats))


def run_loss(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    return show(training.measure_loss(model, config, builder_of(arguments, "loss"), arguments.repeats))


def run_steps(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    repeats = max(3, arguments.repeats // 4)
    with builder_apart(arguments, "training_step") as builder:
        return show(training.measure_steps(config, model, weights, builder, precisions(), repeats))


def run_evaluation(arguments: argparse.Namespace, config: Config, model: Yolact, weights: Path) -> dict[str, Any]:
    builder = builder_of(arguments, "evaluation")
    seconds, figures = evaluation.measure_evaluation(arguments.num_pictures, ENGINES, builder)
    for name, value in seconds.items():
        print(f"{name:34}{value:10.1f} s   mask AP {figures[name]['segm']!r}, box AP {figures[name]['bbox']!r}")
    return {"seconds": seconds, "figures": figures, "pictures": arguments.num_pictures}


STAGES = {
    "parts": run_parts,
    "network": run_network,
    "throughput": run_throughput,
    "paper": run_paper,
    "files": run_files,
    "detection": run_detection,
    "nms": run_nms,
    "data": run_data,
    "loss": run_loss,
    "steps": run_steps,
    "evaluation": run_evaluation,
    "memory": run_memory,
}


def show(times: dict[str, Times], per_second: bool = False) -> dict[str, Any]:
    """Print the stages, each beside what it is compared with, and return them for the JSON file."""
    print(f"\n{'':34}{'median ms':>10}{'p95 ms':>10}{'per second':>12}{'ratio':>8}")
    ratios = {}
    for name, own in times.items():
        other = times.get(base_name(name) + COMPARED)
        line = f"{name:34}{own.median:10.2f}{own.p95:10.2f}{own.per_second:12.1f}"
        if other is not None and not name.endswith(COMPARED):
            ratios[name] = own.per_second / other.per_second if per_second else other.median / own.median
            line += f"{ratios[name]:8.2f}"
        print(line)
    return {"stages": {name: own.summary() for name, own in times.items()}, "ratios": ratios}


if __name__ == "__main__":
    exit_on_user_error(main)
