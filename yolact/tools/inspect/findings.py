"""Every kind of fault, and those that were found. The names are part of check.json: programs may rely on them.

An error is what training refuses, at its start or at the image; a warning is what it drops, repairs or takes as it is.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from yolact.data import mending
from yolact.text import printable

RARE = 10  # objects; a class with fewer is hardly learnt
EDGE_TOLERANCE = 2.0  # pixels by which boxes and polygons may cross the image's edge: annotation tools round
MAX_EXAMPLES = 1000  # of a kind in check.json, enough to mend a set by program; the page shows a few of them

# Name; what was found, in the plural; what it does to training and what to do about it.
# fmt: off
REFUSED = (
    ("missing-picture", "images without a file", "restore the files, or correct file_name or the image folder"),
    ("invalid-entry", "entries that are not JSON objects", "remove them or export the file again"),
    ("invalid-field", "fields that are missing or of the wrong type", "correct the field or remove the entry"),
    ("invalid-picture-size", "images whose width or height is impossible", "write the file's size into the JSON"),
    ("name-leaves-folder", "file names that leave the image folder", "use paths below the folder"),
    ("no-pictures", "files without images", "add entries to 'images'"),
    ("no-categories", "files without classes", "add entries to 'categories'"),
    ("no-objects", "training sets without an object", "label some, or set data.allow_empty=true"),
    ("repeated-picture-id", "image ids that are used twice", "number them anew"),
    ("repeated-category", "class ids or names that are used twice", "merge the classes or rename one"),
    ("unknown-picture", "annotations of images that are not listed", "list the image or remove the annotation"),
    ("undeclared-category", "annotations of a class that is not declared", "declare the class or correct category_id"),
    ("categories-differ", "classes that only one of the sets declares", "make the 'categories' lists equal"),
    ("class-count-differs", "numbers of classes other than configured", "set model.num_classes to null"),
    ("picture-without-tiles", "images of more than 100 megapixels, to be decoded whole",
     "set data.tiles, which --write-config FILE chooses"),
    ("invalid-box", "boxes that are not four finite numbers", "write [x, y, width, height]: one NaN spoils all"),
    ("short-polygon", "polygons with fewer than three points", "remove them or draw them again"),
    ("invalid-polygon", "polygons that are not a flat list of finite numbers", "write [x1, y1, x2, y2, ...] in pixels"),
    ("polygon-far-outside", "polygons far outside their image", "look at how they were exported: for another size?"),
    ("invalid-segmentation", "segmentations that are neither polygons nor RLE", "export the annotations again"),
    ("rle-size-mismatch", "RLE masks of another size than their image", "size is [height, width], often swapped"),
    ("invalid-rle", "RLE masks whose run lengths are broken", "encode the masks again"),
)
SKIPPABLE = (  # data.unreadable=skip goes on without it
    ("unreadable-picture", "images that cannot be decoded", "replace or remove them"),
    ("truncated-picture", "images that are cut off", "copy them again"),
    ("other-bands", "images of other bands than the model takes",
     "set model.channels to the bands of all, or choose bands with gdal_translate -b"),
    ("picture-too-large", "images of more than 100 megapixels", "set data.tiles, or scale them and annotations down"),
    ("size-mismatch", "images of another size than the JSON says",
     "masks would miss their objects: correct width and height, or restore the images that were annotated"),
)
WARNINGS = (
    ("exif-rotation", "images that their EXIF data turns or mirrors",
     "The size in the JSON cannot tell all turns; look at the masks, or save the images upright and annotate those."),
    ("deep-samples", "images of more than 8 bits a sample",
     "data.white is the sample that becomes white: null has a training choose it, \"image\" takes each image's range."),
    ("odd-samples", "images with samples below 0 or that are not numbers", "They become black; look at the sensor's."),
    ("transparent-picture", "images with transparent pixels",
     "data.background is seen there: set it to what people saw who annotated them."),
    ("several-frames", "files of several frames or pages", "The first one is taken; save the others as files."),
    ("duplicate-picture", "images that repeat an earlier one", "They count double; keep one of each."),
    ("shared-picture", "validation images that are also trained on", "Accuracy looks better than it is; remove them."),
    ("repeated-file-name", "images that are listed twice", "Objects of one entry are background in the other; merge."),
    ("unused-category", "classes without an object", "They can be neither learnt nor judged; remove them or add some."),
    ("rare-category", f"classes with fewer than {RARE} objects", "Hardly learnt; add images or merge similar ones."),
    ("nothing-to-score", "validation sets without an object", "There is no AP and no best checkpoint; label some."),
    ("many-crowds", "sets with many crowd regions (iscrowd)",
     "They neither teach nor score. CVAT marks each mask so: --fix OUT.json --crowds-are-objects takes the mark off."),
    ("squashed-pictures", "inputs that squash the images",
     "Set model.resize=pad, or model.image_size=[height, width]; yolact check --write-config FILE chooses."),
    ("small-objects", "inputs in which most objects are small",
     "Hardly learnt: enlarge model.image_size, or set data.tiles; yolact check --write-config FILE chooses."),
    ("degenerate-box", "boxes without area", "Left out of training; bbox is [x, y, width, height], not two corners."),
    ("box-outside", "boxes outside their image", "Left out of training; they may belong to another image or size."),
    ("box-over-edge", f"boxes over the edge of their image by more than {EDGE_TOLERANCE:g} pixels",
     "They are cut at the edge in training; if there are many, look at whether the sizes are right."),
    ("thin-box", "boxes thinner than one pixel", "If there are many, coordinates may be shares of the image's side."),
    ("box-unlike-mask", "boxes that do not fit their mask",
     "The network learns wrong boxes and cuts its masks by them; compute bbox from the mask: [x, y, width, height]."),
    ("polygon-over-edge", f"polygons over the edge of their image by more than {EDGE_TOLERANCE:g} pixels",
     "They are cut at the edge in training; if there are many, look at whether the sizes are right."),
    ("empty-polygon", "empty polygons among others", "They are passed over; look at whether a part was lost."),
    ("missing-mask", "annotations without a mask", "Left out, which teaches that they are background; draw the mask."),
    ("empty-mask", "masks without a pixel", "Left out, or taught to have no mask; draw them again or remove them."),
    ("duplicate-object", "annotations that repeat another one of their image", "One counts as missed; remove it."),
)
# fmt: on
MENDED = tuple(
    (kind, title, "Taken in spite of that; --fix OUT.json writes it so.") for kind, title in mending.KINDS.items()
)
ADVICE = (  # level, and what advice says of all kinds
    ("error", "Training refuses to start; {}.", REFUSED),
    ("error", "Training stops at the first one (or skips it: data.unreadable); {}.", SKIPPABLE),
    ("warning", "{}", (*MENDED, *WARNINGS)),
)
KINDS = {  # name -> level, title, advice
    name: (level, title, advice.format(remedy)) for level, advice, kinds in ADVICE for name, title, remedy in kinds
}


class Example(NamedTuple):
    """One occurrence of a fault; check.json has the first three fields."""

    picture: str | None = None  # file name of the image
    annotation: int | None = None  # id
    note: str = ""
    image: int | None = None  # its index in the `InspectedSet`
    box: tuple[float, float, float, float] | None = None  # xyxy in pixels of the image, where it can be drawn


NOWHERE = Example()


@dataclass
class Finding:
    """One kind of fault in one set; the names are those of check.json."""

    kind: str  # a key of `KINDS`
    set: str
    level: str  # "error" or "warning"
    title: str
    advice: str
    count: int = 0
    examples: list[Example] = field(default_factory=list)  # the first ones

    def add(self, note: str, about: Example) -> None:
        """Count one occurrence."""
        self.count += 1
        if self.count <= MAX_EXAMPLES:
            picture = None if about.picture is None else printable(about.picture)
            self.examples.append(about._replace(note=printable(note), picture=picture))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "examples": [dict(zip(Example._fields[:3], one, strict=False)) for one in self.examples]}
