"""What a prediction over many pictures or frames leaves behind: COCO records, a table, mask pictures, and tracks.

Files grow as results come, so that memory does not, and are whole whenever they are closed.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from yolact.draw import encode_png
from yolact.errors import UserError
from yolact.output import write_bytes
from yolact.structures import Instances

COLUMNS = ("file", "frame", "number", "class", "score", "x", "y", "width", "height", "area", "track")


class Results:
    """Writes predictions.json, and on request predictions.csv and a PNG for each mask, into a folder."""

    def __init__(self, folder: Path, *, table: bool = False, masks: bool = False, boxes_only: bool = False) -> None:
        """Begin the files.

        Raises:
            UserError: they cannot be written; so do `add` and the end.
        """
        self.folder, self.masks, self.boxes_only = folder, masks, boxes_only
        self.counts: Counter[str] = Counter()
        self._part = folder / "predictions.json.tmp"
        with self._errors(), ExitStack() as stack:
            self._json = stack.enter_context(_open_text(self._part))
            self._json.write("[")
            self._table: TextIO | None = None
            if table:
                self._table = stack.enter_context(_open_text(folder / "predictions.csv"))
                self._rows = csv.writer(self._table)
                self._rows.writerow(COLUMNS)
            self._open_files = stack.pop_all()

    def add(
        self, found: Instances, image_id: int, file_name: str, stem: str, frame: int | None, tracks: list[int] | None
    ) -> None:
        """Add the instances of one picture, or of frame `frame` of a video.

        Args:
            image_id: of the COCO records.
            stem: of the names of mask pictures.
            tracks: number of the object that each instance belongs to, or -1.
        """
        records = found.to_coco(image_id, "bbox" if self.boxes_only else None)
        with self._errors():
            self._add(records, found, file_name, stem, frame, tracks)

    def _add(
        self,
        records: list[dict[str, Any]],
        found: Instances,
        file_name: str,
        stem: str,
        frame: int | None,
        tracks: list[int] | None,
    ) -> None:
        for number, record in enumerate(records):
            name = found.class_names[int(found.labels[number])]
            more = {} if frame is None else {"frame": frame}
            if tracks is not None:
                more["track_id"] = tracks[number]
            full = {"file_name": file_name, **more, "category_name": name, **record}
            text = json.dumps(full, allow_nan=False, ensure_ascii=False)
            self._json.write((",\n" if self.counts else "\n") + text)
            self.counts[name] += 1
            if self._table is not None:
                box = [round(value, 2) for value in record["bbox"]]
                area = "" if self.boxes_only else found.regions[number].area
                track = "" if tracks is None else tracks[number]
                shown = "" if frame is None else frame
                score = round(record["score"], 5)
                self._rows.writerow([file_name, shown, number, name, score, *box, area, track])
            if self.masks:
                place = self.folder / "masks" / f"{stem}_{number:03}_{_plain(name)}.png"
                place.parent.mkdir(exist_ok=True)
                mask = found.regions[number].full(found.image_size)
                write_bytes(encode_png(mask.astype(np.uint8) * 255), place)

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the files; what was added until an error or Ctrl-C is kept."""
        with self._errors():
            with self._open_files:
                self._json.write("\n]\n" if self.counts else "]\n")
            os.replace(self._part, self.folder / "predictions.json")

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


def _plain(name: str) -> str:
    """Return a class name as part of a file name."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


class Tracker:
    """Gives the objects of a video numbers that stay, by ByteTrack from the package `trackers`."""

    def __init__(self, fps: float) -> None:
        """Begin a video of `fps` frames per second.

        Raises:
            UserError: the package is not installed.
        """
        try:
            from supervision import Detections
            from trackers import ByteTrackTracker
        except ImportError:
            raise UserError(
                "--track needs the package trackers, which is not installed: run `pip install trackers supervision`, "
                "or leave --track out."
            ) from None
        self._detections = Detections
        # Its own thresholds are made for detectors whose scores come near to 1.
        self._tracker = ByteTrackTracker(frame_rate=fps, track_activation_threshold=0.4, high_conf_det_threshold=0.4)

    def update(self, found: Instances) -> list[int]:
        """Return the number of the object that each instance of the next frame belongs to, or -1 for none yet."""
        numbers = [-1] * len(found)
        if len(found):
            detections = self._detections(
                xyxy=found.boxes.numpy(),
                confidence=found.scores.numpy(),
                class_id=found.labels.numpy(),
                data={"place": np.arange(len(found))},
            )
            tracked = self._tracker.update(detections)
            if tracked.tracker_id is not None:
                for place, number in zip(tracked.data["place"], tracked.tracker_id, strict=True):
                    numbers[int(place)] = int(number)
        return numbers
