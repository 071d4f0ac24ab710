"""Files of a prediction: the images that go in; COCO records, a table, mask images and tracks that come out."""

import csv
import glob
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

import numpy as np

from yolact.data.images import SUFFIXES
from yolact.draw import encode_png
from yolact.errors import UserError
from yolact.instances import Instances
from yolact.output import write_bytes

COLUMNS = ("file", "frame", "number", "class", "score", "x", "y", "width", "height", "area", "track")


class Source(NamedTuple):
    """One image file; `is_named` tells one that the user named from one that a folder or pattern gave."""

    path: Path
    is_named: bool


def find_images(arguments: list[str]) -> list[Source]:
    """Turn files, folders and patterns into image files, each once, in the order given.

    Raises:
        UserError: one of them does not exist or leads to no image.
    """
    sources: dict[Path, Source] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = sorted(path.iterdir())
        elif path.exists():
            found = [path]
        elif glob.has_magic(argument):
            found = sorted(map(Path, glob.glob(argument, recursive=True)))
        else:
            raise UserError(f"There is no image, folder or pattern '{argument}'; check the path.")
        is_named = found == [path]
        if not is_named:
            found = [file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not found:
            kinds = ", ".join(sorted(SUFFIXES))
            raise UserError(f"'{argument}' leads to no images (expected files ending in {kinds}); check the path.")
        for file in found:
            sources.setdefault(file.resolve(), Source(file, is_named))
    return list(sources.values())


def target_paths(sources: list[Source], folder: Path) -> list[Path]:
    """Return where each annotated image goes; images of one name from several folders get numbers.

    Raises:
        UserError: a result would overwrite one of the images.
    """
    originals = {source.path.resolve() for source in sources}
    targets: dict[str, Path] = {}
    for source in sources:
        stem, number = source.path.stem, 1
        while stem in targets:
            number += 1
            stem = f"{source.path.stem}_{number}"
        target = folder / (stem + (".jpg" if source.path.suffix.lower() in {".jpg", ".jpeg"} else ".png"))
        if target.resolve() in originals:
            raise UserError(f"The result '{target}' would overwrite that image; give another --output.")
        targets[stem] = target
    return list(targets.values())


class Results:
    """Writes predictions.json, and on request predictions.csv and a PNG for each mask, into a folder.

    Files grow as results come, so that memory does not, and are whole at the end of the `with` block, also by an error.
    """

    def __init__(self, folder: Path, *, table: bool = False, masks: bool = False, boxes_only: bool = False) -> None:
        self.folder, self.masks, self.boxes_only = folder, masks, boxes_only
        self.counts: Counter[str] = Counter()  # of the objects of each class
        self._paths = [folder / "predictions.json.tmp", *([folder / "predictions.csv"] if table else [])]

    def __enter__(self) -> "Results":
        """Begin the files.

        Raises:
            UserError: they cannot be written; so do `add` and the end.
        """
        with self._errors(), ExitStack() as stack:
            files = [stack.enter_context(_open_text(path)) for path in self._paths]
            self._json, self._rows = files[0], csv.writer(files[1]) if len(files) > 1 else None
            self._json.write("[")
            if self._rows:
                self._rows.writerow(COLUMNS)
            self._open_files = stack.pop_all()
        return self

    def add(
        self,
        found: Instances,
        image_id: int,
        file_name: str,
        stem: str,
        frame: int | None = None,
        tracks: list[int] | None = None,
    ) -> None:
        """Add the instances of one image, or of frame `frame` of a video.

        Args:
            image_id: of the COCO records.
            stem: of the names of mask images.
            tracks: number of the object that each instance belongs to, or -1.
        """
        records = found.to_coco(image_id, "bbox" if self.boxes_only else None)
        with self._errors():
            for number, record in enumerate(records):
                name, region = found.class_names[int(found.labels[number])], found.regions[number]
                more = {"frame": frame, "track_id": tracks[number] if tracks else None}
                shown = {key: value for key, value in more.items() if value is not None}
                full = {"file_name": file_name, **shown, "category_name": name, **record}
                text = json.dumps(full, allow_nan=False, ensure_ascii=False)
                self._json.write((",\n" if self.counts else "\n") + text)
                self.counts[name] += 1
                if self._rows:
                    box = [round(value, 2) for value in record["bbox"]]
                    area = None if self.boxes_only else region.area  # None is an empty cell
                    score = round(record["score"], 5)
                    self._rows.writerow([file_name, frame, number, name, score, *box, area, more["track_id"]])
                if self.masks:
                    plain = "".join(letter if letter.isalnum() else "_" for letter in name)
                    path = self.folder / "masks" / f"{stem}_{number:03}_{plain}.png"
                    path.parent.mkdir(exist_ok=True)
                    write_bytes(encode_png(region.full(found.image_size).astype(np.uint8) * 255), path)

    def remove(self) -> None:
        """Remove the files, where there is nothing to say."""
        for name in ("predictions.json", "predictions.csv"):
            (self.folder / name).unlink(missing_ok=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the files; what was added until an error or Ctrl-C is kept."""
        with self._errors():
            with self._open_files:
                self._json.write("\n]\n" if self.counts else "]\n")
            os.replace(self._paths[0], self.folder / "predictions.json")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The results in '{self.folder}' could not be written ({error.strerror}); make room or give another "
                "folder with --output."
            ) from error


def _open_text(path: Path) -> TextIO:
    # A file's name may hold bytes that are not text: halves of surrogate pairs, which become JSON's own escapes.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


class Tracker:
    """Gives the objects of a video numbers that stay, by ByteTrack from the package `trackers`."""

    def __init__(self, fps: float) -> None:
        """Begin a video of `fps` frames per second.

        Raises:
            UserError: the package is not installed.
        """
        try:
            from trackers import ByteTrackTracker
        except ImportError:
            raise UserError(
                "--track needs the package trackers, which is not installed: run `pip install trackers supervision`, "
                "or leave --track out."
            ) from None
        # Its own thresholds are made for detectors whose scores come near to 1.
        self._tracker = ByteTrackTracker(frame_rate=fps, track_activation_threshold=0.4, high_conf_det_threshold=0.4)

    def update(self, found: Instances) -> list[int]:
        """Return the number of the object that each instance of the next frame belongs to, or -1 for none yet."""
        from supervision import Detections

        numbers = [-1] * len(found)
        if len(found):
            boxes, scores, labels = found.boxes.numpy(), found.scores.numpy(), found.labels.numpy()
            index: Any = np.arange(len(found))
            detections = Detections(xyxy=boxes, confidence=scores, class_id=labels, data={"index": index})
            tracked = self._tracker.update(detections)
            if tracked.tracker_id is not None:
                for i, number in zip(tracked.data["index"], tracked.tracker_id, strict=True):
                    numbers[int(i)] = int(number)
        return numbers
