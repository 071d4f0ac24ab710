"""Every fault that an inspection can find: a stable name, a level, and one sentence on what it does and how to mend it.

An error is what training refuses, at its start or when it meets the picture; a warning is what it drops, repairs or
takes as it is. The names are part of check.json: tools may rely on them.
"""

from typing import Literal, NamedTuple

Level = Literal["error", "warning"]

RARE = 10  # objects; a class with fewer is hardly learnt
EDGE_TOLERANCE = 2.0  # pixels by which boxes and polygons may cross the picture's edge: annotation tools round
LIKE_MASK_IOU = 0.7  # of an annotation's box and its mask's own one; below it the box belongs to something else ...
LIKE_MASK_PIXELS = 2.0  # ... unless no edge is further away than this, as with objects of a few pixels


class Kind(NamedTuple):
    """One kind of fault."""

    name: str
    level: Level
    title: str  # what was found, in the plural
    advice: str  # what it does to training, and what to do


def _kinds(level: Level, *rows: tuple[str, str, str]) -> dict[str, Kind]:
    return {name: Kind(name, level, title, advice) for name, title, advice in rows}


KINDS = _kinds(
    "error",
    (
        "missing-picture",
        "pictures without a file",
        "Training refuses to start; restore the files, or correct file_name or the picture folder.",
    ),
    (
        "unreadable-picture",
        "pictures that cannot be decoded",
        "Training stops at the first one (data.unreadable=skip goes on without it); replace or remove them.",
    ),
    (
        "truncated-picture",
        "pictures that are cut off",
        "Training stops at the first one (data.unreadable=skip goes on without it); copy them again.",
    ),
    (
        "picture-too-large",
        "pictures of more than 100 megapixels",
        "Training stops at the first one, as it might fill the memory; scale them and their annotations down.",
    ),
    (
        "size-mismatch",
        "pictures of another size than the JSON says",
        "Masks would lie beside their objects, so training stops at the first one; correct width and height, or "
        "restore the pictures that were annotated.",
    ),
    (
        "invalid-entry",
        "entries that are not JSON objects",
        "Training refuses to start; remove them or export the file again.",
    ),
    (
        "invalid-field",
        "fields that are missing or of the wrong type",
        "Training refuses to start; correct the field or remove the entry.",
    ),
    (
        "invalid-picture-size",
        "pictures whose width or height is impossible",
        "Training refuses to start; write the size of the file into width and height.",
    ),
    (
        "name-leaves-folder",
        "file names that leave the picture folder",
        "Training refuses to start, because such a file reads what it should not; use paths below the folder.",
    ),
    ("no-pictures", "files without pictures", "There is nothing to train on; add entries to 'images'."),
    ("no-categories", "files without classes", "There is nothing to learn; add entries to 'categories'."),
    (
        "repeated-picture-id",
        "picture ids that are used twice",
        "Nobody can tell which picture an annotation belongs to, so training refuses to start; number them anew.",
    ),
    (
        "repeated-annotation-id",
        "annotation ids that are used twice",
        "COCO's evaluation would overwrite one by the other, so training refuses to start; number them anew.",
    ),
    (
        "repeated-category",
        "class ids or names that are used twice",
        "Training refuses to start; merge the classes or rename one.",
    ),
    (
        "unknown-picture",
        "annotations of pictures that are not listed",
        "Training refuses to start; add the picture to 'images' or remove the annotation.",
    ),
    (
        "undeclared-category",
        "annotations of a class that is not declared",
        "Training refuses to start; add the class to 'categories' or correct category_id.",
    ),
    (
        "categories-differ",
        "classes that only one of the sets declares",
        "Labels would mean different things in training and validation, so training refuses to start; make the "
        "'categories' lists equal.",
    ),
    (
        "class-count-differs",
        "numbers of classes that contradict the configuration",
        "Training refuses to start; set model.num_classes to null, which takes the classes from the file.",
    ),
    (
        "invalid-box",
        "boxes that are not four finite numbers",
        "One NaN makes the whole network NaN, so training refuses to start; correct bbox to [x, y, width, height].",
    ),
    (
        "short-polygon",
        "polygons with fewer than three points",
        "They enclose nothing, so training refuses to start; remove them or draw them again.",
    ),
    (
        "invalid-polygon",
        "polygons that are not a flat list of finite numbers",
        "They cannot be drawn, so training refuses to start; write [x1, y1, x2, y2, ...] in pixels.",
    ),
    (
        "polygon-far-outside",
        "polygons far outside their picture",
        "They belong to another picture or size, so training refuses to start; look at how they were exported.",
    ),
    (
        "invalid-segmentation",
        "segmentations that are neither polygons nor RLE",
        "Training refuses to start; export the annotations again as polygons or COCO's run lengths.",
    ),
    (
        "rle-size-mismatch",
        "RLE masks of another size than their picture",
        "The mask cannot be laid on the picture (often height and width are swapped), so training refuses to start; "
        "size must be [height, width].",
    ),
    (
        "invalid-rle",
        "RLE masks whose run lengths are broken",
        "They cannot be decoded to the size of the picture, so training refuses to start; encode the masks again.",
    ),
) | _kinds(
    "warning",
    (
        "exif-rotation",
        "pictures that their EXIF data turns or mirrors",
        "They are read as the JSON's width and height ask, which cannot tell turns by 180 degrees or mirroring; look "
        "at the masks below, or save the pictures upright and annotate those.",
    ),
    (
        "duplicate-picture",
        "pictures that repeat an earlier one",
        "They count double, and contradict each other where their annotations differ; keep one of each.",
    ),
    (
        "shared-picture",
        "validation pictures that are also trained on",
        "The accuracy will look better than it is; remove them from one of the two sets.",
    ),
    (
        "repeated-file-name",
        "pictures that are listed twice",
        "The objects of one entry are background in the other, so the network is taught not to find them; merge them.",
    ),
    (
        "unused-category",
        "classes without an object",
        "The network keeps an output for a class that it can neither learn nor be judged by; remove it or add some.",
    ),
    (
        "rare-category",
        f"classes with fewer than {RARE} objects",
        "They will hardly be learnt; add pictures of them, or merge them with a similar class.",
    ),
    ("no-objects", "sets without any object", "Everything would be taught to be background; look at how it was made."),
    (
        "degenerate-box",
        "boxes without area",
        "The object is left out of training; correct bbox, which is [x, y, width, height] and not two corners.",
    ),
    (
        "box-outside",
        "boxes outside their picture",
        "The object is left out of training; they may belong to another picture or an enlarged one.",
    ),
    (
        "box-over-edge",
        f"boxes that cross the edge of their picture by more than {EDGE_TOLERANCE:g} pixels",
        "They are cut at the edge in training; if there are many, look at whether the sizes are right.",
    ),
    (
        "thin-box",
        "boxes thinner than one pixel",
        "Nothing of the object can be seen; if there are many, the coordinates may be shares of the picture's side.",
    ),
    (
        "box-unlike-mask",
        "boxes that do not fit their mask",
        "The network learns boxes in the wrong place and cuts its masks by them; compute bbox from the mask, as "
        "[x, y, width, height].",
    ),
    (
        "polygon-over-edge",
        f"polygons that cross the edge of their picture by more than {EDGE_TOLERANCE:g} pixels",
        "They are cut at the edge in training; if there are many, look at whether the sizes are right.",
    ),
    (
        "empty-polygon",
        "empty polygons beside others",
        "They are passed over; look at whether a part of the object was lost.",
    ),
    (
        "missing-mask",
        "annotations without a mask",
        "The object is left out of training, and what it shows is taught to be background; draw its mask.",
    ),
    (
        "empty-mask",
        "masks without a pixel",
        "The object is left out of training, or taught to have no mask; draw it again or remove it.",
    ),
    (
        "duplicate-object",
        "annotations that repeat another one of their picture",
        "Both claim the same anchors, and one counts as missed in every evaluation; remove one.",
    ),
    (
        "too-many-objects",
        "pictures with more objects than eval.max_detections",
        "The rest cannot be found and counts as missed; raise eval.max_detections, and eval.nms_top_k above it.",
    ),
)

# Faults of picture files: what data.unreadable=skip passes over in training.
SKIPPABLE = {"unreadable-picture", "truncated-picture", "picture-too-large", "size-mismatch"}
