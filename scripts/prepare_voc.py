"""Turn Pascal VOC 2012's segmentation images, or SBD's .mat files, into COCO annotations with instance masks.

python scripts/prepare_voc.py data/VOC2012      # writes instances_train.json and instances_val.json
python scripts/prepare_voc.py data/sbd          # writes pascal_sbd_train.json and pascal_sbd_val.json
"""

import argparse
from pathlib import Path

from yolact.errors import exit_on_user_error
from yolact.tools.convert.writing import count_lines, write_conversion
from yolact.tools.prepare.voc import read


def main(argv: list[str] | None = None) -> None:
    """Write two annotation files, both or none, and print what is in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="VOC2012, which holds ImageSets, or SBD's, which holds img and inst")
    parser.add_argument("--output", type=Path, help="folder for the two files (default: the one that is read)")
    arguments = parser.parse_args(argv)
    conversion, file_name = read(arguments.folder)
    written = write_conversion(conversion, arguments.output or conversion.folder, False, file_name)
    print(*count_lines(written), *conversion.notes(), sep="\n")


if __name__ == "__main__":
    exit_on_user_error(main)
