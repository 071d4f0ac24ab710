"""Find objects in pictures, videos and camera streams: annotated copies and one JSON file.

python scripts/predict.py street.jpg --weights weights/yolact_base_54_800000.pth --output found
python scripts/predict.py pictures/ 'more/**/*.png' --weights runs/shapes/quickstart/best.pth --output found
python scripts/predict.py street.mp4 --weights weights/yolact_base_54_800000.pth --output found --track
python scripts/predict.py 0 --weights ...         # a camera by its number; rtsp://... or http://... for streams
"""

import argparse
import glob
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from yolact.command_line import add_device, add_model, add_precision, load_chosen_model, number, share
from yolact.data.images import SUFFIXES, read_image
from yolact.device import pick_device
from yolact.draw import display_scale, draw_instances, encode_png, prototypes_grid
from yolact.errors import DatasetError, UserError, exit_on_user_error
from yolact.output import output_folder, write_bytes
from yolact.prediction_files import Results, Tracker
from yolact.predictor import Predictor
from yolact.structures import Instances, find_labels
from yolact.video import Video, VideoWriter, WriteBehind, is_video, read_ahead


class Source(NamedTuple):
    """One picture file; `named` tells one that the user named from one that a folder or pattern gave."""

    path: Path
    named: bool


class Failure(NamedTuple):
    """A picture that could not be read."""

    source: Source
    reason: str


def main(argv: list[str] | None = None) -> None:
    """Predict from command line arguments."""
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    video = Video(arguments.source[0]) if is_video(arguments.source[0]) else None
    sources = [] if video else find_pictures(arguments.source)
    predictor = Predictor(load_chosen_model(arguments, device), arguments.precision)
    classes = None if arguments.classes is None else [name.strip() for name in arguments.classes.split(",")]
    if classes is not None:
        find_labels(classes, predictor.class_names)  # a wrong name is an error before anything is written
    options = {"table": arguments.csv, "masks": arguments.masks, "boxes_only": arguments.boxes_only}
    with output_folder(arguments.output) as output:
        if video is not None:
            predict_video(predictor, video, classes, output, arguments, options)
        else:
            predict_pictures(predictor, sources, classes, output, arguments, options)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = number("number from 1 on", lambda value: value >= 1, int)
    parser.add_argument("source", nargs="+", help="pictures, folders, patterns such as 'a/**/*.png'; or one video")
    add_model(parser, "eval.nms=cross_class, eval.crop=none")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--score-threshold", type=share, default=0.3, metavar="X", help="in [0, 1], default 0.3")
    parser.add_argument("--classes", metavar="A,B", help="only these classes, by name")
    parser.add_argument("--boxes-only", action="store_true", help="draw and write no masks")
    parser.add_argument("--csv", action="store_true", help="also write predictions.csv")
    parser.add_argument("--masks", action="store_true", help="also write each mask as a PNG of the picture's size")
    parser.add_argument("--track", action="store_true", help="videos: number objects through the frames (trackers)")
    parser.add_argument("--max-frames", type=count, metavar="N", help="videos: stop after so many frames")
    parser.add_argument("--prototypes", action="store_true", help="pictures: also draw the prototypes")
    add_device(parser)
    add_precision(parser)
    arguments = parser.parse_args(argv)
    if len(arguments.source) > 1 and any(map(is_video, arguments.source)):
        parser.error("give one video at a time, or pictures")
    return arguments


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


def predict_pictures(
    predictor: Predictor,
    sources: list[Source],
    classes: list[str] | None,
    output: Path,
    arguments: argparse.Namespace,
    options: dict[str, bool],
) -> None:
    """Predict picture by picture, while the next one is read and the last one is written.

    A picture that cannot be read is left out and named. That is an error (after the others are done) where the user
    named the file, and a warning where it merely lay in a folder.
    """
    targets = target_paths(sources, output)
    failures: list[Failure] = []
    bar = tqdm(total=len(sources), desc="predict", unit="picture", dynamic_ncols=True)
    with Results(output, **options) as results, WriteBehind(_write) as behind, bar:
        for place, (source, picture) in enumerate(read_ahead(_read_each(sources))):
            bar.update()
            if isinstance(picture, str):
                failures.append(Failure(source, picture))
                continue
            found = _predict(predictor, picture, classes, arguments)
            target = targets[place]
            behind.put((target, _encode(_draw(picture, found, arguments, display_scale(*found.image_size)), target)))
            if arguments.prototypes:
                grid = prototypes_grid(predictor.prototypes(picture), picture)
                behind.put((target.with_name(f"{target.stem}_prototypes.png"), encode_png(grid)))
            results.add(found, place + 1, str(source.path), target.stem, None, None)
    if len(failures) == len(sources):
        (output / "predictions.json").unlink()
        (output / "predictions.csv").unlink(missing_ok=True)
        raise DatasetError(failures[0].reason)
    print(summary(results, f"{len(sources) - len(failures)} pictures", arguments.score_threshold))
    print(f"Written to {output}: annotated pictures and predictions.json")
    report_failures(failures, len(sources))


def _read_each(sources: list[Source]) -> Iterator[tuple[Source, np.ndarray | str]]:
    """Yield each source with its picture, or with the reason why it cannot be read."""
    for source in sources:
        try:
            yield source, read_image(source.path)
        except DatasetError as error:
            yield source, str(error)


def predict_video(
    predictor: Predictor,
    video: Video,
    classes: list[str] | None,
    output: Path,
    arguments: argparse.Namespace,
    options: dict[str, bool],
) -> None:
    """Predict frame by frame until the end or Ctrl-C, which leaves whole files of the frames so far."""
    tracker = Tracker(video.fps) if arguments.track else None
    live = video.num_frames is None
    name = f"camera_{video.source}" if video.source.isdecimal() else Path(video.source).stem or "stream"
    target = output / f"{name}.mp4"
    if not live and target.resolve() == Path(video.source).resolve():
        raise UserError(f"The result '{target}' would overwrite that video; give another --output.")
    total = min(filter(None, (video.num_frames, arguments.max_frames)), default=None)
    bar = tqdm(total=total, desc="predict", unit="frame", dynamic_ncols=True)
    count = 0
    with Results(output, **options) as results, VideoWriter(target, video.fps, video.size) as writer, bar:
        try:
            with WriteBehind(writer.write) as behind:
                for count, frame in enumerate(read_ahead(video), start=1):
                    found = _predict(predictor, frame, classes, arguments)
                    tracks = tracker.update(found) if tracker else None
                    behind.put(_draw(frame, found, arguments, 1, tracks))
                    results.add(found, count, video.source, f"{name}_{count:06}", count - 1, tracks)
                    bar.update()
                    if count == arguments.max_frames:
                        break
        except KeyboardInterrupt:
            bar.write("stopped by Ctrl-C; the frames so far are written")
    print(summary(results, f"{count} frames", arguments.score_threshold))
    print(f"Written to {output}: {target.name} ({video.fps:g} frames per second) and predictions.json")


def _predict(
    predictor: Predictor, picture: np.ndarray, classes: list[str] | None, arguments: argparse.Namespace
) -> Instances:
    return predictor(picture, arguments.score_threshold).filter(classes)


def _draw(
    picture: np.ndarray, found: Instances, arguments: argparse.Namespace, scale: int, tracks: list[int] | None = None
) -> np.ndarray:
    return draw_instances(picture, found, masks=not arguments.boxes_only, scale=scale, tracks=tracks)


def _write(item: tuple[Path, bytes]) -> None:
    path, data = item
    write_bytes(data, path)


def summary(results: Results, what: str, score_threshold: float) -> str:
    """Count the objects of each class, the most frequent first."""
    counts = results.counts
    lines = [f"{counts.total()} objects in {what} (score above {score_threshold:g})"]
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


def _encode(picture: np.ndarray, target: Path) -> bytes:
    if target.suffix == ".png":
        return encode_png(picture)
    encoded: bytes = cv2.imencode(target.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return encoded


if __name__ == "__main__":
    exit_on_user_error(main)
