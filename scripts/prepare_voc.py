"""Turn Pascal VOC 2012's segmentation pictures into COCO annotations with instance masks.

python scripts/prepare_voc.py data/VOC2012
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from yolact.data.voc import convert_split, read_split
from yolact.errors import exit_on_user_error
from yolact.output import output_folder, write_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write instances_train.json and instances_val.json for VOC 2012.")
    parser.add_argument("folder", type=Path, help="holds JPEGImages, SegmentationClass, SegmentationObject, ImageSets")
    parser.add_argument("--output", type=Path, help="folder for the two files (default: the VOC folder)")
    arguments = parser.parse_args(argv)
    splits = {split: read_split(arguments.folder, split) for split in ("train", "val")}
    with output_folder(arguments.output or arguments.folder) as output:
        contents = {
            split: convert_split(arguments.folder, tqdm(names, desc=split, unit="picture"))
            for split, names in splits.items()
        }
        for split, (content, counts) in contents.items():
            path = output / f"instances_{split}.json"
            write_json(content, path)
            print(f"{path}: {len(content['images'])} pictures, {counts.total()} objects")
            for name, count in counts.most_common():
                print(f"  {count:6} {name}")


if __name__ == "__main__":
    exit_on_user_error(main)
