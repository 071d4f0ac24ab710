"""Fetch the authors' published models and the ImageNet backbones that they started from.

python scripts/download_weights.py --list
python scripts/download_weights.py yolact_base yolact_plus_base
python scripts/download_weights.py --all --folder /data/weights
"""

import argparse
import difflib
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm.contrib.logging import logging_redirect_tqdm

from yolact.compat.hub import UNPUBLISHED, fetch_backbone, fetch_published
from yolact.compat.published import MODELS
from yolact.engine.pretrained import AUTHORS_FILES, WEIGHTS_FOLDER
from yolact.errors import DownloadError, UserError, exit_on_user_error


class Choice(NamedTuple):
    """Something to fetch, and how."""

    file_name: str
    title: str
    fetch: Callable[[Path], Path]


def choices() -> dict[str, Choice]:
    """Return by name everything that can be fetched."""
    models = {
        name: Choice(model.file_name, model.title, partial(fetch_published, name))
        for name, model in MODELS.items()
        if model.file_name is not None
    }
    backbones = {
        name: Choice(file, "ImageNet weights of the backbone", partial(fetch_backbone, file))
        for name, file in AUTHORS_FILES.items()
    }
    return models | backbones


def main(argv: list[str] | None = None) -> None:
    """Fetch what is named, one after the other; one that fails does not keep the others away."""
    arguments = parse_arguments(argv)
    known = choices()
    if arguments.list:
        print(table(known, arguments.folder))
        return
    names = list(known) if arguments.all else arguments.name
    for name in names:
        require_known(name, known)
    logging.getLogger("yolact").setLevel(logging.INFO)
    with logging_redirect_tqdm([logging.getLogger("yolact")]):
        fetch_each({name: known[name] for name in names}, arguments.folder)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Fetch published weights; a download that broke off goes on.")
    parser.add_argument("name", nargs="*", help="such as yolact_base or resnet101; --list shows all")
    parser.add_argument("--all", action="store_true", help="all models and backbones")
    parser.add_argument("--list", action="store_true", help="show the names, and what is there; needs no network")
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="default: weights")
    arguments = parser.parse_args(argv)
    if bool(arguments.name) + arguments.all + arguments.list != 1:
        parser.error("expected either names, or --all, or --list")
    return arguments


def require_known(name: str, known: dict[str, Choice]) -> None:
    """Refuse a name before anything is fetched.

    Raises:
        UserError: there is nothing of that name; it gives the closest that there is.
    """
    if name in UNPUBLISHED:
        raise UserError(f"{name} cannot be downloaded: {UNPUBLISHED[name]}; train it, or take another model.")
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}."
        raise UserError(f"There are no published weights '{name}'; {hint}")


def table(known: dict[str, Choice], folder: Path) -> str:
    """Show what can be fetched and what is there."""
    rows = [("name", "file", "", f"in {folder}/")]
    rows += [(name, choice.file_name, choice.title, state(folder / choice.file_name)) for name, choice in known.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *(f"{name}: {reason}" for name, reason in UNPUBLISHED.items())])


def state(path: Path) -> str:
    """Say whether a file is there, and how large it is."""
    for file, words in ((path, "yes"), (path.with_name(path.name + ".part"), "a part")):
        if file.is_file():
            return f"{words}, {file.stat().st_size / 1e6:.1f} MB"
    return "no"


def fetch_each(wanted: dict[str, Choice], folder: Path) -> None:
    """Fetch into the folder and print where each file is.

    Raises:
        UserError: not all could be fetched; the reasons are on stderr.
    """
    failed = []
    for name, choice in wanted.items():
        try:
            print(f"{name}: {choice.fetch(folder)}")
        except DownloadError as error:
            if len(wanted) == 1:
                raise
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
    if failed:
        raise UserError(f"{len(failed)} of {len(wanted)} could not be fetched: {', '.join(failed)}; see above why.")


if __name__ == "__main__":
    exit_on_user_error(main)
