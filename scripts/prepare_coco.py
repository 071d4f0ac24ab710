"""Fetch COCO 2017 and unpack it where the configurations expect it, or check a folder that is there.

python scripts/prepare_coco.py                        # 20 GB; 40 GB while it is unpacked
python scripts/prepare_coco.py --splits val2017       # 0.8 GB, enough to evaluate
python scripts/prepare_coco.py --folder /data/coco --check
"""

import argparse
import logging
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from yolact.data.coco2017 import COCO_2017, URL, check, prepare
from yolact.errors import exit_on_user_error


def main(argv: list[str] | None = None) -> None:
    """Fetch what is missing, unless only a check is wanted, and print what the folder holds."""
    arguments = parse_arguments(argv)
    folder, splits = arguments.folder, list(dict.fromkeys(arguments.splits))
    if not arguments.check:
        logging.getLogger("yolact").setLevel(logging.INFO)
        with logging_redirect_tqdm([logging.getLogger("yolact")]):
            fetched = prepare(folder, splits, COCO_2017, arguments.url, keep_archives=arguments.keep_archives)
        print(f"COCO 2017 {'is in' if fetched else 'is there already, in'} '{folder}':")
    for split in splits:
        print(check(folder, split, COCO_2017))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Fetch COCO 2017: checked, and resumed where a download or the unpacking broke off."
    )
    parser.add_argument("--folder", type=Path, default=Path("data/coco"), help="default: data/coco")
    known = list(COCO_2017.pictures)
    parser.add_argument("--splits", nargs="+", choices=known, default=known, metavar="SPLIT", help="default: all")
    parser.add_argument("--check", action="store_true", help="fetch nothing; check the files that are there")
    parser.add_argument("--keep-archives", action="store_true", help="leave the zip files in the folder")
    parser.add_argument("--url", default=URL, help=f"of a mirror with the same files (default: {URL})")
    return parser.parse_args(argv)


if __name__ == "__main__":
    exit_on_user_error(main)
