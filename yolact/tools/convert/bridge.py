"""Other formats, by the package datumaro: CVAT, panoptic COCO, Mapillary, VOC and more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from yolact.data.images import read_size
from yolact.errors import DatasetError, UserError
from yolact.text import printable
from yolact.tools.convert.common import Conversion, FoundImage, Part, encode_mask, is_text, name_below

# Those whose objects were seen to come through whole. Most others have boxes or classes of pixels alone, and some
# unpickle files. Of cityscapes, datumaro reads classes of pixels; `yolact convert masks --class-map` keeps its objects.
FORMATS = (
    *("coco_panoptic", "cvat", "datumaro", "label_me", "mapillary_vistas_instances", "mots", "open_images"),
    *("roboflow_coco", "voc_instance_segmentation"),
)


def read_datumaro(name: str, source: Path) -> Conversion:
    """Read what the package datumaro reads as the format `name`; the labels that objects have become the classes.

    datumaro rounds the points of polygons to two decimals. UserError where the format is not one of `FORMATS` or the
    package is missing, DatasetError where datumaro cannot read the source or no image can be used.
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
    conversion = Conversion.of(source)

    def read(where: str, item: Any) -> FoundImage:
        media = item.media
        path = getattr(media, "path", None)
        name = name_below(conversion.folder, Path(path)) if path else None
        if name is None or not is_text(name):
            raise DatasetError(f"The image {printable(where)} is no file below '{conversion.folder}'; put it there.")
        size = read_size(conversion.folder / name, media.size)
        parts = _read_parts(conversion, item, labels, name, size)
        return FoundImage(name, size, conversion.objects(parts, size), item.subset)

    conversion.collect(items, read)
    declared = dict.fromkeys(map(str.strip, labels))
    used = [label for label in declared if label in conversion.class_names.values()]
    conversion.note("labels that no object has, left out", *(label for label in declared if label not in used))
    conversion.class_names = dict(enumerate(used, start=1))
    return conversion


def _read_parts(
    conversion: Conversion, item: Any, labels: list[str], name: str, image_size: tuple[int, int]
) -> Iterator[Part | DatasetError]:
    """Yield the polygons and masks of an image, or what is wrong with one, and count what has no mask."""
    with_mask = {(found.group, found.label) for found in item.annotations if found.type.name in ("polygon", "mask")}
    for index, found in enumerate(item.annotations):
        kind, label, group = found.type.name, getattr(found, "label", None), found.group or None
        if kind not in ("polygon", "mask"):
            if group is None or (group, label) not in with_mask:  # else it is the box of an object with a mask
                conversion.note(f"annotations of the kind '{kind}', which have no mask, passed over", name)
        elif label is None:
            conversion.note("masks without a label, passed over", f"annotation {index} of '{name}'")
        else:
            mask = np.asarray(found.image) != 0 if kind == "mask" else None
            if mask is not None and mask.shape != image_size:
                yield DatasetError(f"A mask of '{name}' is of {mask.shape} pixels, not {image_size}; correct it.")
                continue
            area = np.reshape(found.points, (-1, 2)) if mask is None else encode_mask(mask)
            yield Part(labels[label], area, name, group, bool(found.attributes.get("is_crowd", False)))
