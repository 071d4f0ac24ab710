"""Fetch COCO 2017 and unpack it where the configurations expect it, or check a folder that is there.

python scripts/prepare_coco.py                        # 20 GB; 40 GB while it is unpacked
python scripts/prepare_coco.py --splits val2017       # 1.1 GB, enough to evaluate
python scripts/prepare_coco.py --folder /data/coco --check
"""

import argparse
from pathlib import Path

from yolact.errors import exit_on_user_error
from yolact.tools.prepare.coco2017 import COUNTS, URL, check, prepare


def main(argv: list[str] | None = None) -> None:
    """Fetch what is missing, unless only a check is wanted, and print what the folder holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("data/coco"), help="default: data/coco")
    parser.add_argument("--splits", nargs="+", choices=COUNTS, default=[*COUNTS], metavar="SPLIT", help="default: all")
    parser.add_argument("--check", action="store_true", help="fetch nothing; check the files that are there")
    parser.add_argument("--keep-archives", action="store_true", help="leave the zip files in the folder")
    parser.add_argument("--url", default=URL, help="of a mirror with the same files (default: %(default)s)")
    arguments = parser.parse_args(argv)
    folder, splits = arguments.folder, list(dict.fromkeys(arguments.splits))
    if not arguments.check:
        fetched = prepare(folder, splits, arguments.url, keep_archives=arguments.keep_archives)
        print(f"COCO 2017 {'is in' if fetched else 'is there already, in'} '{folder}':")
    for split in splits:
        print(check(folder, split))


if __name__ == "__main__":
    exit_on_user_error(main)
