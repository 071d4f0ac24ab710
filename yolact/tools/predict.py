"""Predictions over many images, or over the frames of a video, with annotated copies of them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor
from tqdm import tqdm

from yolact.data.images import read_image
from yolact.draw import display_scale, encode_png
from yolact.errors import DatasetError, UserError
from yolact.instances import Instances
from yolact.output import write_bytes
from yolact.predictor import Predictor
from yolact.text import counted
from yolact.tools.explain import draw_prototypes
from yolact.tools.prediction_files import Results, Source, Tracker, target_paths
from yolact.tools.video import Frame, Video, read_ahead, write_video


@dataclass(frozen=True)
class Finder:
    """A model and what is wanted of it; `classes` are names, None takes all, and `masks` are drawn or not."""

    predictor: Predictor
    score_threshold: float = 0.3
    classes: list[str] | None = None
    masks: bool = True

    def find(self, image: np.ndarray) -> Instances:
        """Return the objects of the wanted classes."""
        return self.predictor(image, self.score_threshold).filter(self.classes)

    def draw(self, found: Instances, scale: int, tracks: list[int] | None = None) -> np.ndarray:
        """Return the image with its objects, `scale` times as large."""
        return found.plot(masks=self.masks, scale=scale, tracks=tracks)

    def print_summary(self, results: Results, what: str, files: str) -> None:
        """Print how many objects there are of each class, the most frequent first, and which files were written."""
        counts = results.counts
        print(f"{counted(counts.total(), 'object')} in {what} (score above {self.score_threshold:g})")
        width = max(map(len, counts), default=0)
        for name, number in counts.most_common():
            print(f"  {name:{width}}  {number}")
        print(f"Written to {results.folder}: {files}predictions.json")


def predict_images(finder: Finder, sources: list[Source], results: Results, prototypes: bool = False) -> None:
    """Predict image by image, while the next one is read and the last one is written.

    An image that cannot be read is left out and named. That is an error (after the others are done) where the user
    named the file, and a warning where it merely lay in a folder.

    Raises:
        DatasetError: no image can be read; then nothing is written.
        UserError: an image that the user named cannot be read, or a result cannot be written.
    """
    targets = target_paths(sources, results.folder)
    failures: list[tuple[Source, str]] = []

    def read() -> Iterator[tuple[Source, np.ndarray | str]]:
        for source in sources:
            try:
                yield source, read_image(source.path)
            except DatasetError as error:
                yield source, str(error)

    def find() -> Iterator[tuple[Source, Instances | str, Tensor | None]]:
        for source, image in read_ahead(read()):
            if isinstance(image, str):
                yield source, image, None
            else:
                yield source, finder.find(image), finder.predictor.prototypes(image) if prototypes else None

    bar = tqdm(read_ahead(find()), desc="predict", total=len(sources), unit="image", dynamic_ncols=True)
    with results:
        for number, (source, found, maps) in enumerate(bar):
            if isinstance(found, str):
                failures.append((source, found))
                continue
            target = targets[number]
            _write(finder.draw(found, display_scale(*found.image_size)), target)
            if maps is not None:
                _write(draw_prototypes(maps, found.image), target.with_name(f"{target.stem}_prototypes.png"))
            results.add(found, number + 1, str(source.path), target.stem)
    if len(failures) == len(sources):
        results.remove()
        raise DatasetError(failures[0][1])
    done = counted(len(sources) - len(failures), "image")
    finder.print_summary(results, done, "annotated images and ")
    for _, reason in failures:
        print(f"left out: {reason}", file=sys.stderr)
    if failures:
        message = f"{len(failures)} of {counted(len(sources), 'image')} could not be read and were left out"
        if any(source.is_named for source, _ in failures):
            raise UserError(f"{message}; the others are done.")
        print(f"{message}.", file=sys.stderr)


def predict_video(
    finder: Finder, video: Video, results: Results, track: bool = False, max_frames: int | None = None
) -> None:
    """Predict frame by frame until the end or Ctrl-C, which leaves whole files of the frames so far.

    Raises:
        UserError: the result would overwrite the video or cannot be written, or a package for `track` is missing.
    """
    tracker = Tracker(video.fps) if track else None
    name = f"camera_{video.source}" if video.source.isdecimal() else Path(video.source).stem or "stream"
    target = results.folder / f"{name}.mp4"
    if target.resolve() == Path(video.source).resolve():
        raise UserError(f"The result '{target}' would overwrite that video; give another --output.")

    def find() -> Iterator[tuple[float, Instances]]:
        for image, seconds in islice(read_ahead(video), max_frames):
            yield seconds, finder.find(image)

    total = min(filter(None, (video.num_frames, max_frames)), default=None)
    count = 0
    with results, write_video(target, video.fps, video.image_size) as write:
        bar = tqdm(read_ahead(find()), desc="predict", total=total, unit="frame", dynamic_ncols=True)
        try:
            for seconds, found in bar:
                tracks = tracker.update(found) if tracker else None
                write(Frame(finder.draw(found, 1, tracks), seconds))
                count += 1
                results.add(found, count, video.source, f"{name}_{count:06}", count - 1, tracks)
        except KeyboardInterrupt:
            bar.write("stopped by Ctrl-C; the frames so far are written")
    files = f"{target.name} ({video.fps:g} frames per second) and "
    finder.print_summary(results, counted(count, "frame"), files)


def _write(image: np.ndarray, path: Path) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    write_bytes(encode_png(image) if path.suffix == ".png" else cv2.imencode(".jpg", image, quality)[1].tobytes(), path)
