"""Turn Pascal VOC 2012's segmentation images, or SBD's .mat files, into COCO annotations with instance masks.

python scripts/prepare_voc.py data/VOC2012      # writes instances_train.json and instances_val.json
python scripts/prepare_voc.py data/sbd          # writes pascal_sbd_train.json and pascal_sbd_val.json
"""

import argparse
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from yolact.data.categories import VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.errors import DatasetError, exit_on_user_error
from yolact.output import output_folder, write_json
from yolact.tools.convert.objects import coco_content
from yolact.tools.prepare.voc import find_sbd, read_names, read_sbd, read_voc


def main(argv: list[str] | None = None) -> None:
    """Write two annotation files, both or none, and print what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="VOC2012, which holds ImageSets, or SBD's, which holds img and inst")
    parser.add_argument("--output", type=Path, help="folder for the two files (default: the one that is read)")
    arguments = parser.parse_args(argv)
    sbd = find_sbd(arguments.folder)
    folder, lists = sbd or arguments.folder, sbd or arguments.folder / "ImageSets/Segmentation"
    file_name, read = ("pascal_sbd_{}.json", read_sbd) if sbd else ("instances_{}.json", read_voc)
    if not lists.is_dir():
        raise DatasetError(
            f"'{folder}' holds neither VOC 2012 (ImageSets, JPEGImages, SegmentationClass and SegmentationObject) nor "
            "SBD (img and inst, or dataset with them); check the path."
        )
    names = {split: read_names(lists / f"{split}.txt") for split in ("train", "val")}
    class_names = dict(zip(VOC_CATEGORY_IDS, VOC_CLASSES, strict=True))
    with output_folder(arguments.output or folder) as output:
        made = {split: [read(folder, name) for name in tqdm(names[split], desc=split)] for split in names}
        for split, read_images in made.items():
            images, passed = zip(*read_images, strict=True)
            counts = Counter(item.class_name for _, _, objects in images for item in objects)
            write_json(coco_content(images, class_names), output / file_name.format(split))
            print(f"{output / file_name.format(split)}: {len(images)} images, {counts.total()} objects")
            for name, count in counts.most_common():
                print(f"  {count:6} {name}")
            for reason, count in sum(passed, Counter()).items():
                print(f"  passed over {count} {reason}")


if __name__ == "__main__":
    exit_on_user_error(main)
