"""Predictions over images, or over the frames of a video: annotated copies, COCO records, a table, mask images."""

import csv
import glob
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import cv2
import numpy as np
from tqdm import tqdm

from yolact.data.headers import image_files, passed_over
from yolact.data.images import read_image
from yolact.data.samples import to_gray
from yolact.data.windows import open_image
from yolact.draw import display_scale, draw_instances, encode_png
from yolact.errors import DatasetError, UserError
from yolact.instances import Instances
from yolact.output import write_bytes
from yolact.predictor import Predictor
from yolact.text import counted, printable
from yolact.threads import in_order
from yolact.tools import prelabels
from yolact.tools.explain import draw_prototypes
from yolact.tools.outputs import (
    LABELS,
    MASKS,
    RECORD,
    RECORDS,
    TABLE,
    UNFINISHED,
    mask_of,
    name_outputs,
    note,
    prototypes_of,
    remove_earlier,
    require_free,
    video_of,
)
from yolact.tools.video import Frame, Tracker, Video, write_video

OVERVIEW_SIDE = 4000  # pixels of the annotated copy of an image that is too large to be decoded whole
COLUMNS = ("file", "frame", "number", "class", "score", "x", "y", "width", "height", "area", "track")


@dataclass(frozen=True)
class Wanted:
    """What to find and to write; `prototypes` is for images, what follows for videos."""

    folder: Path
    score_threshold: float = 0.3
    classes: list[str] | None = None  # by name; None takes all
    boxes_only: bool = False  # draw and write no masks
    table: bool = False  # predictions.csv
    masks: bool = False  # a PNG of each
    prototypes: bool = False
    labels: str | None = None  # a key of `prelabels.KINDS`: proposals for a labelling tool
    track: bool = False
    max_frames: int | None = None
    overwrite: bool = False  # the results of an earlier run


class InputFile(NamedTuple):
    """An image file, the name that the results have for it, where its annotated copy goes, and whether the user named
    it or a folder or pattern led to it."""

    path: Path
    shown: str
    target: Path
    is_named: bool


def find_images(arguments: list[str], folder: Path, fetched: Mapping[str, Path]) -> list[InputFile]:
    """Turn files, folders, patterns and addresses into image files, each once, in the order given.

    Copies go to `folder`, with the names of `name_outputs`. `fetched` has the files that came from addresses.

    Raises:
        UserError: an argument leads to no image.
    """
    files: dict[Path, tuple[Path, str, bool]] = {}
    for argument in arguments:
        path = fetched.get(argument, Path(argument))
        try:
            is_named = path.exists() and not path.is_dir()
            inside = path.iterdir() if path.is_dir() else map(Path, glob.glob(argument, recursive=True))
            found, others = ([path], []) if is_named else image_files(inside)
        except OSError as error:  # no permission, or a name too long
            raise UserError(f"'{argument}' cannot be looked at ({error.strerror}); check the path.") from None
        if not found:
            what = f" ({passed_over(found, others)})" if others else ""
            raise UserError(f"'{argument}' leads to no images{what}; check the path.")
        if others:
            print(f"{argument}: {passed_over(found, others)}", file=sys.stderr)
        for file in found:
            files.setdefault(file.resolve(), (file, argument if argument in fetched else str(file), is_named))
    sources = []
    # What came from an address is named as if it lay here.
    downloaded = {*fetched.values()}
    names = name_outputs([Path(*path.parts[-2:]) if path in downloaded else path for path, _, _ in files.values()])
    for (path, shown, is_named), name in zip(files.values(), names, strict=True):
        suffix = ".jpg" if path.suffix.lower() in {".jpg", ".jpeg"} else ".png"
        sources.append(InputFile(path, shown, folder / (name + suffix), is_named))
    return sources


def predict_images(predictor: Predictor, sources: list[InputFile], wanted: Wanted) -> None:
    """Predict several images at a time; those that cannot be read are left out and told of.

    Raises:
        DatasetError: no image can be read; then nothing is written.
        UserError: in the end, that an image cannot be read which the user named; or a result cannot be written.
    """
    failures: list[tuple[InputFile, str]] = []
    counts: Counter[str] = Counter()
    output = ""  # the last file of labels
    labels: prelabels.Labels | None = prelabels.KINDS[wanted.labels](wanted.folder) if wanted.labels else None

    def work(own: Predictor, source: InputFile) -> Instances | str:
        """Read, find, draw and write; return why an image cannot be read."""
        try:
            if wanted.prototypes:
                found, detections = own.dissect(source.path, wanted.score_threshold)
            else:
                found = own(source.path, wanted.score_threshold)
            image = (
                open_image(source.path, colours=own.colours).overview(OVERVIEW_SIDE)
                if found.image is None
                else found.image
            )
        except DatasetError as error:
            return str(error).replace(str(source.path), source.shown)
        more = [prototypes_of(source.target.stem)] if wanted.prototypes else []
        note(wanted.folder, source.shown, [source.target.name, *more])  # before, for the sake of a kill
        if wanted.prototypes:
            drawn = draw_prototypes(detections.prototypes[0], image)
            _write(drawn, source.target.with_name(prototypes_of(source.target.stem)))
        found = found.filter(wanted.classes)
        scale = display_scale(image.shape[0], image.shape[1])
        _write(draw_instances(image, found, masks=not wanted.boxes_only, scale=scale), source.target)
        return found

    if wanted.overwrite:
        _require_readable(sources, predictor)
    with write_results(wanted, counts) as add:
        # Tiles of one image keep the machine busy, so that images come one after the other.
        in_tiles = predictor.settings.tiles is not None
        results = map(partial(work, predictor), sources) if in_tiles else predictor.overlapped(work, sources)
        shown = tqdm(results, desc="predict", total=len(sources), unit="image", dynamic_ncols=True)
        try:
            for number, (source, found) in enumerate(zip(sources, shown, strict=True)):
                if isinstance(found, str):
                    failures.append((source, found))
                else:
                    add(found, number + 1, source.shown, source.target.stem)
                    if labels is not None:
                        output = labels.add(found, source.path, source.target.stem)
                        note(wanted.folder, source.shown, [output], finished=(wanted.folder / output).exists())
        except KeyboardInterrupt:
            print("stopped by Ctrl-C; the images so far are written")
            raise
        finally:
            if labels is not None and output:
                labels.close()
                note(wanted.folder, "", [output], finished=True)
    if len(failures) == len(sources):
        for name in (RECORDS, TABLE, RECORD):
            (wanted.folder / name).unlink(missing_ok=True)
        raise DatasetError(failures[0][1])
    print_summary(wanted, counts, counted(len(sources) - len(failures), "image"), "annotated images")
    if wanted.labels:
        print(f"Labels to correct: {wanted.folder / (LABELS if wanted.labels == 'labelme' else f'{LABELS}.json')}")
    for _, reason in failures:
        print(f"left out: {reason}", file=sys.stderr)
    if failures:
        message = f"{len(failures)} of {counted(len(sources), 'image')} could not be read and were left out"
        if any(source.is_named for source, _ in failures):
            raise UserError(f"{message}; the others are done.")
        print(f"{message}.", file=sys.stderr)


def _require_readable(sources: list[InputFile], predictor: Predictor) -> None:
    """Raise the first image's DatasetError where none can be read, before the results of an earlier run go."""
    read, reasons = read_image if predictor.settings.tiles is None else open_image, []
    for source in sources:
        try:
            read(source.path, colours=predictor.colours)
            return
        except DatasetError as error:
            reasons.append(str(error).replace(str(source.path), source.shown))
    raise DatasetError(reasons[0])


def predict_video(predictor: Predictor, video: Video, wanted: Wanted) -> None:
    """Predict frame by frame until the end or Ctrl-C, which leaves whole files of the frames so far.

    Raises:
        UserError: the result would overwrite the video or cannot be written, a package for `track` is missing, or the
            model takes no colours.
    """
    if not predictor.colours.has_colours:
        raise UserError(
            f"'{video.source}' has frames of 3 channels, but the model takes {predictor.colours.channels} "
            "(model.channels): give images of as many bands."
        )
    tracker = Tracker(video.fps) if wanted.track else None
    target = wanted.folder / video_of(video.source)
    name = target.stem
    if target.resolve() == Path(video.source).resolve():
        raise UserError(f"The result '{target}' would overwrite that video; give another --output.")
    total = min(filter(None, (video.num_frames, wanted.max_frames)), default=None)
    frames = islice(video, wanted.max_frames)
    counts: Counter[str] = Counter()
    count, seconds, stopped = 0, 0.0, None

    def work(own: Predictor, frame: Frame) -> tuple[float, Instances]:
        image, seconds = frame
        image = to_gray(image) if own.colours.channels == 1 else image
        return seconds, own(image, wanted.score_threshold).filter(wanted.classes)

    # What is live is searched frame by frame, while the next one is read: several at a time would come later.
    is_live = video.num_frames is None
    results = in_order(partial(work, predictor), frames, 1) if is_live else predictor.overlapped(work, frames)
    writing = write_video(target, video.fps, video.image_size, sound=video)
    with write_results(wanted, counts) as add, writing as write:
        note(wanted.folder, video.source, [target.name])
        try:
            for seconds, found in tqdm(results, desc="predict", total=total, unit="frame", dynamic_ncols=True):
                tracks = tracker.update(found) if tracker else None
                write(found.plot(masks=not wanted.boxes_only, tracks=tracks), seconds)
                count += 1
                add(found, count, video.source, f"{name}_{count:06}", count - 1, tracks, seconds)
        except KeyboardInterrupt as error:
            print("stopped by Ctrl-C; the frames so far are written")
            stopped = error
    fps = (count - 1) / seconds if seconds > 0 else video.fps  # files of varying rate say another
    print_summary(wanted, counts, f"{counted(count, 'frame')}, {fps:.4g} a second on average", target.name)
    if video.num_damaged:
        what = counted(video.num_damaged, "frame")
        print(f"{what} of '{video.source}' are missing or damaged; the others are done.", file=sys.stderr)
    if stopped:
        raise stopped


@contextmanager
def write_results(wanted: Wanted, counts: Counter[str]) -> Iterator[Callable[..., None]]:
    """Give a function that adds the instances of an image to predictions.json, and if wanted to the other files.

    Its arguments are the instances, the image's id, name and stem for the names of mask images; of a video also the
    frame's number, that of each instance's object or -1, and the frame's seconds. Files of an earlier run go first. The
    new ones grow as results come, so that memory does not, and are whole after the block, also where an error ends it.
    `counts` gets the number of objects of each class.

    Raises:
        UserError: a file cannot be written.
    """
    temporary = wanted.folder / UNFINISHED
    require_free(wanted.folder, (), wanted.overwrite)  # again, as another run may have begun meanwhile
    remove_earlier(wanted.folder)

    def add(
        found: Instances, image_id: int, file_name: str, stem: str, frame: int | None = None,
        tracks: list[int] | None = None, seconds: float | None = None,
    ) -> None:  # fmt: skip
        class_names = [found.class_names[label] for label in found.labels.tolist()]
        masks = [mask_of(stem, number, name) for number, name in enumerate(class_names)] if wanted.masks else []
        note(wanted.folder, file_name, masks)
        for number, record in enumerate(found.to_coco(image_id, "bbox" if wanted.boxes_only else None)):
            name, region = class_names[number], found.regions[number]
            more: dict[str, Any] = {"frame": frame, "track_id": tracks[number] if tracks else None}
            more["seconds"] = None if seconds is None else round(seconds, 4)
            more["mask"] = masks[number] if masks else None
            shown = {key: value for key, value in more.items() if value is not None}
            full = {"file_name": file_name, **shown, "category_name": name, **record}
            text = json.dumps(full, allow_nan=False, ensure_ascii=False)
            file.write((",\n" if counts else "\n") + text)
            counts[name] += 1
            if table:
                box = [round(value, 2) for value in record["bbox"]]
                area = None if wanted.boxes_only else region.area  # None is an empty cell
                score = round(record["score"], 5)
                table.writerow([file_name, frame, number, name, score, *box, area, more["track_id"]])
            if wanted.masks:
                (wanted.folder / MASKS).mkdir(exist_ok=True)
                _write(region.full(found.image_size).astype(np.uint8) * 255, wanted.folder / masks[number])

    try:
        with ExitStack() as stack:
            note(wanted.folder, "", [])  # begins the record
            file = stack.enter_context(_open_text(temporary))
            table = None
            if wanted.table:
                table = csv.writer(stack.enter_context(_open_text(wanted.folder / TABLE)))
                table.writerow(COLUMNS)
            file.write("[")
            try:
                yield add
            finally:
                file.write("\n]\n")
                file.close()
                os.replace(temporary, wanted.folder / RECORDS)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"The results in '{wanted.folder}' could not be written ({error.strerror}); make room or give another "
            "folder with --output."
        ) from error


def _open_text(path: Path) -> TextIO:
    # A file's name may hold bytes that are not text: halves of surrogate pairs, which become JSON's own escapes.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def print_summary(wanted: Wanted, counts: Counter[str], what: str, files: str) -> None:
    """Print how many objects there are of each class, the most frequent first, and which files were written."""
    print(f"{counted(counts.total(), 'object')} in {what} (score above {wanted.score_threshold:g})")
    width = max(map(len, counts), default=0)
    for name, number in counts.most_common():
        print(f"  {printable(name):{width}}  {number}")
    print(f"Written to {wanted.folder}: {files} and predictions.json")


def _write(image: np.ndarray, path: Path) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    write_bytes(encode_png(image) if path.suffix == ".png" else cv2.imencode(".jpg", image, quality)[1].tobytes(), path)
