"""Find objects in pictures: annotated copies and one JSON file.

python scripts/predict.py street.jpg --weights weights/yolact_base_54_800000.pth --output found
python scripts/predict.py pictures/ 'more/**/*.png' --weights runs/shapes/quickstart/best.pth --output found
"""

import argparse
import difflib
import glob
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from tqdm import tqdm

from yolact.data.pictures import read_picture
from yolact.device import pick_device
from yolact.errors import DatasetError, UserError, exit_on_user_error
from yolact.output import output_folder, write_bytes, write_json
from yolact.predictor import Predictor, load_model
from yolact.structures import Instances
from yolact.visualize import display_scale, draw_instances, encode_png, prototypes_grid

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


class Source(NamedTuple):
    """One picture file; `named` tells one that the user named from one that a folder or pattern gave."""

    path: Path
    named: bool


class Failure(NamedTuple):
    """A picture that could not be read."""

    source: Source
    reason: str


def main(argv: list[str] | None = None) -> None:
    """Predict from command line arguments.

    A picture that cannot be read is left out and named. That is an error (after the others are done) where the user
    named the file, and a warning where it merely lay in a folder.
    """
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    sources = find_pictures(arguments.source)
    predictor = Predictor(load_model(arguments.weights, device, overrides=arguments.set))
    labels = select_labels(arguments.classes, predictor.class_names)
    with output_folder(arguments.output) as output:
        targets = target_paths(sources, output)
        records, failures = predict_all(predictor, sources, targets, labels, arguments)
        if len(failures) == len(sources):
            raise DatasetError(failures[0].reason)
        write_json(records, output / "predictions.json")
    print(summary(records, len(sources) - len(failures), arguments.score_threshold))
    print(f"Written to {output}: annotated pictures and predictions.json")
    report_failures(failures, len(sources))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Find objects in pictures.")
    parser.add_argument("source", nargs="+", help="a picture, a folder, or a pattern such as 'pictures/**/*.png'")
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint, ours or published by the authors")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--score-threshold", type=_share, default=0.3, metavar="X", help="in [0, 1], default 0.3")
    parser.add_argument("--classes", metavar="A,B", help="only these classes, by name")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: cuda where there is some")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="e.g. eval.nms=cross_class"
    )
    parser.add_argument("--prototypes", action="store_true", help="also draw the prototypes of each picture")
    return parser.parse_args(argv)


def find_pictures(arguments: list[str]) -> list[Source]:
    """Turn files, folders and patterns into picture files, each once, in the order given.

    Raises:
        UserError: one of them does not exist or leads to no picture.
    """
    sources: dict[Path, Source] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = [Source(file, named=False) for file in sorted(path.iterdir()) if _is_picture(file)]
        elif path.exists():
            found = [Source(path, named=True)]
        elif glob.has_magic(argument):
            matches = sorted(map(Path, glob.glob(argument, recursive=True)))
            found = [Source(file, named=False) for file in matches if _is_picture(file)]
        else:
            raise UserError(f"There is no picture, folder or pattern '{argument}'; check the path.")
        if not found:
            kinds = ", ".join(sorted(SUFFIXES))
            raise UserError(f"'{argument}' leads to no pictures (expected files ending in {kinds}); check the path.")
        for source in found:
            sources.setdefault(source.path.resolve(), source)
    return list(sources.values())


def select_labels(names: str | None, class_names: list[str]) -> set[int] | None:
    """Return the labels of comma-separated class names; None stands for all.

    Raises:
        UserError: the model does not know a name.
    """
    if names is None:
        return None
    labels = set()
    for name in (part.strip() for part in names.split(",") if part.strip()):
        if name not in class_names:
            near = difflib.get_close_matches(name, class_names, 1) or class_names[:1]
            raise UserError(
                f"--classes names '{name}', which is none of the {len(class_names)} classes of this model; "
                f"did you mean '{near[0]}'?"
            )
        labels.add(class_names.index(name))
    return labels


def target_paths(sources: list[Source], output: Path) -> list[Path]:
    """Return where each annotated picture goes; pictures of one name from several folders get numbers.

    Raises:
        UserError: a result would overwrite one of the pictures.
    """
    originals = {source.path.resolve() for source in sources}
    targets: list[Path] = []
    taken: Counter[str] = Counter()
    for source in sources:
        suffix = ".jpg" if source.path.suffix.lower() in {".jpg", ".jpeg"} else ".png"
        name = source.path.stem + suffix
        number = taken[name]
        taken[name] += 1
        target = output / (f"{source.path.stem}_{number + 1}{suffix}" if number else name)
        if target.resolve() in originals:
            raise UserError(f"The result '{target}' would overwrite that picture; give another --output.")
        targets.append(target)
    return targets


def predict_all(
    predictor: Predictor,
    sources: list[Source],
    targets: list[Path],
    labels: set[int] | None,
    arguments: argparse.Namespace,
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Predict picture by picture, draw, and return the records and the pictures that could not be read."""
    records: list[dict[str, Any]] = []
    failures: list[Failure] = []
    pictures = zip(sources, targets, strict=True)
    for image_id, (source, target) in enumerate(tqdm(pictures, "predict", len(sources), unit="picture"), start=1):
        try:
            picture = read_picture(source.path)
        except DatasetError as error:
            failures.append(Failure(source, str(error)))
            continue
        found = predictor(picture, arguments.score_threshold)
        if labels is not None:
            found = found[torch.tensor([int(label) in labels for label in found.labels], dtype=torch.bool)]
        drawn = draw_instances(picture, found, scale=display_scale(*found.image_size))
        write_bytes(_encode(drawn, target.suffix), target)
        if arguments.prototypes:
            grid = prototypes_grid(predictor.prototypes(picture), picture)
            write_bytes(encode_png(grid), target.with_name(f"{target.stem}_prototypes.png"))
        records += named_records(found, image_id, source.path)
    return records, failures


def named_records(found: Instances, image_id: int, path: Path) -> list[dict[str, Any]]:
    """Return COCO result records that also name the file and the class."""
    names = (found.class_names[label] for label in found.labels.tolist())
    return [
        {"file_name": str(path), "category_name": name, **record}
        for name, record in zip(names, found.to_coco(image_id), strict=True)
    ]


def summary(records: list[dict[str, Any]], num_pictures: int, score_threshold: float) -> str:
    """Count the objects of each class, the most frequent first."""
    counts = Counter(record["category_name"] for record in records)
    lines = [f"{len(records)} objects in {num_pictures} pictures (score above {score_threshold:g})"]
    width = max(map(len, counts), default=0)
    lines += [f"  {name:{width}}  {count}" for name, count in counts.most_common()]
    return "\n".join(lines)


def report_failures(failures: list[Failure], num_sources: int) -> None:
    """Name the pictures that were left out.

    Raises:
        UserError: the user had named one of them.
    """
    if not failures:
        return
    for failure in failures:
        print(f"left out: {failure.reason}", file=sys.stderr)
    message = f"{len(failures)} of {num_sources} pictures could not be read and were left out"
    if any(failure.source.named for failure in failures):
        raise UserError(f"{message}; the others are done.")
    print(f"{message}.", file=sys.stderr)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _encode(picture: Any, suffix: str) -> bytes:
    if suffix == ".png":
        return encode_png(picture)
    encoded: bytes = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return encoded


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


_share.__name__ = "number in [0, 1]"  # argparse puts it into its message

if __name__ == "__main__":
    exit_on_user_error(main)
