"""Turn Pascal VOC 2012's segmentation pictures, or SBD's .mat files, into COCO annotations with instance masks.

python scripts/prepare_voc.py data/VOC2012
python scripts/prepare_voc.py data/sbd
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolact.data import sbd, voc
from yolact.errors import DatasetError, UserError, exit_on_user_error
from yolact.output import output_folder, write_json

# From picture names to the COCO file, the objects of each class, and what was passed over.
Convert = Callable[[Iterable[str]], tuple[dict[str, Any], Counter[str], Counter[str]]]


def main(argv: list[str] | None = None) -> None:
    """Write two annotation files, both or none, and print what is in them."""
    parser = argparse.ArgumentParser(
        description="Write instances_train.json and instances_val.json for VOC 2012, or pascal_sbd_train.json and "
        "pascal_sbd_val.json for SBD."
    )
    parser.add_argument("folder", type=Path, help="VOC2012, which holds ImageSets, or SBD's, which holds img and inst")
    parser.add_argument("--output", type=Path, help="folder for the two files (default: the one that is read)")
    arguments = parser.parse_args(argv)
    folder, file_name, names, convert = open_source(arguments.folder)
    with output_folder(arguments.output or folder) as output:
        contents = {
            output / file_name.format(split): convert(tqdm(names[split], desc=split, unit="picture")) for split in names
        }
        for path, (content, counts, passed) in contents.items():
            write_json(content, path)
            print(f"{path}: {len(content['images'])} pictures, {counts.total()} objects")
            for name, count in counts.most_common():
                print(f"  {count:6} {name}")
            for reason, count in passed.items():
                print(f"  passed over {count} {reason}")


def open_source(folder: Path) -> tuple[Path, str, dict[str, list[str]], Convert]:
    """Find out which data set a folder holds.

    Returns:
        The folder of its pictures and annotations, what the files are called, the picture names of each split, and the
        function to convert them.

    Raises:
        DatasetError: it is neither, or a list of pictures is wrong.
        UserError: SciPy is missing.
    """
    sbd_folder = sbd.find_sbd(folder)
    splits = ("train", "val")
    if sbd_folder is not None:
        names = {split: sbd.read_split(sbd_folder, split) for split in splits}
        return sbd_folder, "pascal_sbd_{}.json", names, partial(sbd.convert_split, sbd_folder, load=import_loadmat())
    if not (folder / "ImageSets").is_dir():
        raise DatasetError(
            f"'{folder}' holds neither VOC 2012 (ImageSets, JPEGImages, SegmentationClass and SegmentationObject) nor "
            "SBD (img and inst, or dataset with them); check the path."
        )
    names = {split: voc.read_split(folder, split) for split in splits}
    return folder, "instances_{}.json", names, lambda listed: (*voc.convert_split(folder, listed), Counter())


def import_loadmat() -> Callable[..., Any]:
    """Return SciPy's reader of .mat files; SBD alone needs it.

    Raises:
        UserError: SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError("SBD's .mat files are read by SciPy, which is missing; run: pip install scipy") from None
    return loadmat


if __name__ == "__main__":
    exit_on_user_error(main)
