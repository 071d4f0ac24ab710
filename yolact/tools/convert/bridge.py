"""Other formats, by the package datumaro: CVAT, panoptic COCO, Mapillary, VOC and more."""

from pathlib import Path
from typing import Any

import numpy as np

from yolact.data.images import read_image
from yolact.errors import DatasetError, UserError
from yolact.text import printable
from yolact.tools.convert.common import Conversion, FoundImage, is_plain, name_below, own_splits
from yolact.tools.convert.objects import FoundObject, Polygon, RunLengths, encode_mask, join_object

# Those whose objects were seen to come through whole. Most others have boxes or classes of pixels alone, and some
# unpickle files. Of cityscapes, datumaro reads classes of pixels; `yolact convert masks --class-map` keeps its objects.
FORMATS = (
    *("coco_panoptic", "cvat", "datumaro", "label_me", "mapillary_vistas_instances", "mots", "open_images"),
    *("roboflow_coco", "voc_instance_segmentation"),
)


def read_datumaro(name: str, source: Path) -> Conversion:
    """Read what the package datumaro reads as the format `name`; the labels that objects have become the classes.

    datumaro rounds the points of polygons to two decimals. Annotations of one group and label are parts of one object.

    Raises:
        UserError: the format is not one of `FORMATS`, or the package is not installed.
        DatasetError: datumaro cannot read the source, or no image can be used.
    """
    if name not in FORMATS:
        raise UserError(f"FORMAT must be one of {', '.join(FORMATS)}, not '{printable(name)}'.")
    try:
        from datumaro import AnnotationType, Dataset
    except ImportError:
        raise UserError("Reading other formats needs the package datumaro; `pip install datumaro`.") from None
    try:
        dataset = Dataset.import_from(str(source), name)
        items = {f"'{item.id}' of '{item.subset}'": item for item in dataset}
        labels = [label.name for label in dataset.categories()[AnnotationType.label].items]
    except Exception as error:  # its readers let out errors of all kinds
        reason = printable(str(error.__cause__ or error)) or type(error).__name__
        raise DatasetError(f"datumaro cannot read '{source}' as {name} ({reason}); check path and format.") from None
    conversion, subsets = Conversion(source if source.is_dir() else source.parent), {}

    def read(where: str) -> FoundImage:
        image = _read_image(conversion, items[where], labels, where)
        subsets[image.name] = items[where].subset
        return image

    images = conversion.collect(list(items), read)
    conversion.splits = own_splits(images, subsets)
    used = {item.class_name for image in images for item in image.objects}
    for label in labels:
        if label not in used:
            conversion.note("labels that no object has, left out", label)
    conversion.class_names = dict(enumerate([label for label in dict.fromkeys(labels) if label in used], start=1))
    return conversion


def _read_image(conversion: Conversion, item: Any, labels: list[str], where: str) -> FoundImage:
    path = getattr(item.media, "path", None)
    name = name_below(conversion.folder, Path(path)) if path else None
    if name is None or not is_plain(name):
        raise DatasetError(f"The image {printable(where)} is no file below '{conversion.folder}'; put it there.")
    height, width, _ = read_image(conversion.folder / name, item.media.size).shape
    parts: dict[Any, list[Polygon | RunLengths]] = {}
    first: dict[Any, Any] = {}
    boxes: list[tuple[Any, str]] = []
    for index, found in enumerate(item.annotations):
        kind, label = found.type.name, getattr(found, "label", None)
        key = (found.group, label) if found.group else index
        if kind not in ("polygon", "mask"):
            boxes.append((key, kind))
        elif label is None:
            conversion.note("masks without a label, passed over", f"annotation {index} of {where}")
        else:
            mask = np.asarray(found.image) != 0 if kind == "mask" else None
            if mask is not None and mask.shape != (height, width):
                raise DatasetError(f"A mask of '{name}' is not of its size of {width} x {height} pixels; correct it.")
            area = np.reshape(found.points, (-1, 2)) if mask is None else encode_mask(mask)
            parts.setdefault(key, []).append(area)
            first.setdefault(key, found)
    for key, kind in boxes:
        if key not in parts:  # else it is the box of an object with a mask
            conversion.note(f"annotations of the kind '{kind}', which have no mask, passed over", name)
    objects: list[FoundObject] = []
    for key, found in first.items():
        is_crowd = bool(found.attributes.get("is_crowd", False))
        object_found = join_object(labels[found.label], parts[key], (height, width), name, is_crowd)
        objects += conversion.kept(object_found, name)
    return FoundImage(name, (height, width), objects)
