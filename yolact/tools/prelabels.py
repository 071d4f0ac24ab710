"""Labels that a model proposes, for a person to correct: labelme's files, or one COCO file for CVAT and other tools."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from yolact.formats import object_lines
from yolact.instances import Instances
from yolact.output import write_json
from yolact.tools.convert.common import Part, make_object
from yolact.tools.outputs import LABELS

TOLERANCE = 1.0  # pixels by which outlines may be off, so that they have few points to move
Entry = dict[str, Any]


class Labels(ABC):
    """Takes what is found in one image after another, and writes labels of it into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def add(self, found: Instances, image: Path, name: str) -> str:
        """Take an image, whose results have this name; return the file of its labels, relative to the folder."""

    def close(self) -> None:  # noqa: B027  # not all have something
        """Write what is written at the end."""


class LabelmeLabels(Labels):
    """A file of labelme for each image, which leads to the image where it lies: open them by `labelme FOLDER`."""

    def add(self, found: Instances, image: Path, name: str) -> str:
        """See `Labels`."""
        target = self.folder / LABELS / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        place = image.parent.resolve() / image.name  # "../" leads out of where a symbolic link points
        write_json(found.to_labelme(os.path.relpath(place, target.parent.resolve()), TOLERANCE), target)
        return f"{LABELS}/{target.name}"


class CocoLabels(Labels):
    """One COCO data set of all images with polygons, whose file names are relative to the folder of them all."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._paths: list[Path] = []
        self._content: dict[str, list[Entry]] = {"images": [], "annotations": [], "categories": []}

    def add(self, found: Instances, image: Path, name: str) -> str:
        """See `Labels`."""
        self._paths.append(Path(os.path.abspath(image)))
        content, image_id, (height, width) = self._content, len(self._paths), found.image_size
        content["images"].append({"id": image_id, "height": height, "width": width})
        pairs = zip(found.category_ids, found.class_names, strict=True)
        content["categories"] = [{"id": category_id, "name": class_name} for category_id, class_name in pairs]
        for record, region in zip(found.to_coco(image_id), found.regions, strict=True):
            known = {key: record[key] for key in ("image_id", "category_id", "score")}
            parts = [Part("", line, image.name) for line in object_lines(region, TOLERANCE)]
            # Box and area are those of the polygons, as somebody corrects these.
            if parts and (made := make_object(parts, found.image_size)):
                content["annotations"].append({"id": len(content["annotations"]) + 1, **known, **made.annotation})
        return f"{LABELS}.json"

    def close(self) -> None:
        """See `Labels`."""
        if self._paths:
            folder = Path(os.path.commonpath([path.parent for path in self._paths]))
            for entry, path in zip(self._content["images"], self._paths, strict=True):
                entry["file_name"] = path.relative_to(folder).as_posix()
        write_json(self._content, self.folder / f"{LABELS}.json")


KINDS: dict[str, type[Labels]] = {"labelme": LabelmeLabels, "coco": CocoLabels}
