"""Which format a source is in: the formats that are read, and what of a folder speaks for each."""

import contextlib
import posixpath
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolact.data.images import SUFFIXES
from yolact.errors import DatasetError, UserError
from yolact.text import printable
from yolact.tools.convert import cityscapes, coco, cvat, labelme, labelstudio, mask_files, panoptic, via, yolo
from yolact.tools.convert.common import Conversion, read_json
from yolact.tools.prepare import voc

MOST = 50  # files of one suffix that are looked into
START = 20_000  # bytes of a text that are
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"})
YOLO_LINE = re.compile(r"\d+(\.0*)?( rle \d+ \d+ \S+.*|( [-+.\de]+){4,})")
BRIDGE = "`yolact convert datumaro {} PATH --output OUT` reads it"


def _read_voc(source: Path) -> Conversion:
    roots = [source, *sorted(source.glob("*")), *sorted(source.glob("*/*"))]  # as in VOCdevkit/VOC2012
    return voc.read(next((root for root in roots if (root / "ImageSets/Segmentation").is_dir()), source))[0]


FORMATS: dict[str, Callable[..., Conversion]] = {
    "labelme": labelme.read_labelme,
    "labelstudio": labelstudio.read_labelstudio,
    "cvat": cvat.read_cvat,
    "coco": coco.read_coco,
    "panoptic": panoptic.read_panoptic,
    "via": via.read_via,
    "yolo": yolo.read_yolo,
    "masks": mask_files.read_masks,
    "cityscapes": cityscapes.read_cityscapes,
    "voc": _read_voc,
}
# Their readers have the folder of the images as second argument.
TAKE_IMAGES = ("labelme", "labelstudio", "cvat", "coco", "panoptic", "via")
KINDS: dict[str, Callable[[Any], object]] = {
    "labelme": labelme.is_labelme,
    "labelstudio": labelstudio.is_labelstudio,
    "coco": coco.is_coco,
    "panoptic": panoptic.is_panoptic,
    "via": via.is_via,
    "Supervisely": lambda content: isinstance(content, dict) and {"objects", "size"} <= content.keys(),
    "Datumaro": lambda content: isinstance(content, dict) and {"items", "categories"} <= content.keys(),
    "Mapillary Vistas": lambda content: isinstance(content, dict) and {"labels", "mapping"} <= content.keys(),
    "V7 Darwin": lambda content: isinstance(content, dict) and {"item", "annotations"} <= content.keys(),
}
# What to do with formats that are recognised but not read.
ADVICE = {
    "Supervisely": "export it as COCO there",
    "Datumaro": BRIDGE.format("datumaro"),
    "Mapillary Vistas": BRIDGE.format("mapillary_vistas_instances"),
    "V7 Darwin": "export it as COCO there",
    "the old LabelMe's XML": BRIDGE.format("label_me"),
    "VOC's masks in colours": BRIDGE.format("voc_instance_segmentation"),
    "VOC's XML of boxes": "it has no masks; export masks or polygons",
    "an archive": "unpack it, and give its folder",
}


def recognise(source: Path) -> str:
    """Return the name in `FORMATS` of the format that a folder or file is in; what it holds is not checked.

    UserError where none or several fit, DatasetError where the folder cannot be listed.
    """
    names, examples = _look(source)
    found = {name: examples[name] for name in FORMATS if examples.get(name)}
    if len(found) == 1:
        return next(iter(found))
    if found:
        listed = " and ".join(f"{name} ({clue})" for name, clue in found.items())
        one = next(iter(found))
        raise UserError(f"'{source}' has files of {listed}; name one, as in `yolact convert {one} '{source}' ...`.")
    for tool, advice in ADVICE.items():
        if tool in examples:
            raise UserError(f"'{source}' holds {tool} ({examples[tool]}), which is not read here: {advice}.")
    counts = Counter(posixpath.splitext(name)[1].lower() or "no suffix" for name in names).most_common(4)
    held = ", ".join(f"{count} of {suffix}" for suffix, count in counts) or "no files of known kinds"
    raise UserError(
        f"The format of '{source}' is not recognised (it holds {printable(held)}); known are {', '.join(FORMATS)} and "
        "datumaro, to be named as in `yolact convert masks PATH ...`."
    )


def _look(source: Path) -> tuple[list[str], dict[str, str]]:
    """Look into some files of a folder, or into a file.

    Return the names of all files but hidden ones, and the first one that speaks for each of `FORMATS` and `ADVICE`.
    """
    if source.is_file():
        folder, names = source.parent, [source.name]
    else:
        suffixes = {".json", ".xml", ".txt", ".yaml", ".yml", ".mat", ".csv", *ARCHIVES, *SUFFIXES}
        folder, names = source, Conversion(source).list_files(source, suffixes)
    examples: dict[str, str] = {}
    by_suffix: dict[str, list[str]] = {}
    for name in names:
        by_suffix.setdefault(posixpath.splitext(name)[1].lower(), []).append(name)
    for suffix, likely in by_suffix.items():
        for name in likely[:: -(-len(likely) // MOST)]:
            kind = _kind(folder / name, suffix)
            if kind:
                examples.setdefault(kind, name)

    def within(folder: str, suffixes: frozenset[str] = SUFFIXES) -> str:
        likely = (name for name in names if folder in name.split("/")[:-1])
        return next((name for name in likely if posixpath.splitext(name)[1].lower() in suffixes), "")

    examples["cityscapes"] = next((name for name in names if name.endswith(cityscapes.LABELS)), "")
    if within("images") and "panoptic" not in examples:  # whose PNGs may lie in such folders
        examples["masks"] = within("masks")
    if not any(name.endswith("labelmap.txt") for name in names):  # CVAT's and others' classes, in colours
        examples["voc"] = within("SegmentationObject") or within("inst", frozenset({".mat"}))
    return names, examples


def _kind(path: Path, suffix: str) -> str:
    """Return what a file holds, by the words of `FORMATS` and `ADVICE`; "" where that is none of them."""
    if suffix == ".json":
        with contextlib.suppress(DatasetError):
            content = read_json(path)
            return next((kind for kind, is_kind in KINDS.items() if is_kind(content)), "")
        return ""
    if suffix in ARCHIVES:
        return "an archive"
    if suffix not in (".xml", ".txt", ".yaml", ".yml"):
        return ""
    try:
        with path.open("rb") as file:
            text = file.read(START).decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError:
        return ""
    if suffix == ".xml":
        if cvat.MARK in text:
            return "cvat"
        return ("the old LabelMe's XML" if "<polygon>" in text else "VOC's XML of boxes") * ("<annotation" in text)
    if suffix != ".txt":
        return "yolo" * bool(re.search(r"^names:", text, re.MULTILINE))
    if path.name == "labelmap.txt":
        return "VOC's masks in colours" * text.startswith("# label:color_rgb")
    return "yolo" * any(YOLO_LINE.fullmatch(" ".join(line.split())) for line in text.splitlines()[:5])
