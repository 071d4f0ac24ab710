"""What `yolact predict` writes: names that never meet, and a record by which another run can take them away.

The record is outputs.jsonl: a line {"file_name": "photos/a.jpg", "output": "masks/a_000_cat.png"} for each file.
"""

import json
import os
import threading
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from yolact.errors import UserError
from yolact.tools.weights import sha256_of

RECORD, RECORDS, TABLE = "outputs.jsonl", "predictions.json", "predictions.csv"
MASKS, LABELS = "masks", "labels"  # folders
UNFINISHED = f"{RECORDS}.tmp"
_NOTING = threading.Lock()
MAX_STEM, MAX_CLASS = 120, 60  # bytes: with what comes behind, names stay below the 255 that file systems take


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """Return a name for the results of each image, without suffix; no two of them, or of their prototypes, meet.

    It is the image's own, or where images share that, what tells them apart in their paths: of a/cat.jpg and b/cat.jpg
    a_cat_jpg and b_cat_jpg. What then still meets gets a number. File systems may ignore case, so names differ in more.
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]
    groups: dict[str, list[Path]] = {}
    for path in absolute:
        groups.setdefault(_key(path.stem), []).append(path)
    names, taken = [""] * len(paths), set[str]()
    alone = [len(groups[_key(path.stem)]) == 1 for path in absolute]
    for index in sorted(range(len(paths)), key=lambda index: not alone[index]):  # those that keep their name come first
        path, stem = absolute[index], absolute[index].stem
        if not alone[index]:
            above = os.path.commonpath([other.parent for other in groups[_key(stem)]])
            stem = "_".join(path.relative_to(above).with_suffix("").parts) + path.suffix.replace(".", "_")
        for number in count(1):
            name = cut(stem, MAX_STEM) + (f"_{number}" if number > 1 else "")
            own = {_key(name), _key(f"{name}_prototypes")}
            if not own & taken:
                break
        names[index], taken = name, taken | own
    return names


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def cut(name: str, most: int) -> str:
    """Return the beginning of a name that takes `most` bytes at most."""
    data = os.fsencode(name)
    return name if len(data) <= most else data[:most].decode("utf-8", "ignore")


def prototypes_of(name: str) -> str:
    """Return the file with the prototypes of an image whose results have this name."""
    return f"{name}_prototypes.png"


def mask_of(name: str, number: int, class_name: str) -> str:
    """Return the file of a mask, relative to the output's folder; its last two _ part what is unique of the image."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in class_name)
    return f"{MASKS}/{name}_{number:03}_{cut(plain, MAX_CLASS)}.png"


def video_of(source: str) -> str:
    """Return the file of a video's or camera's annotated copy."""
    return (f"camera_{source}" if source.isdecimal() else Path(source).stem or "stream") + ".mp4"


def note(folder: Path, file_name: str, outputs: Sequence[str], finished: bool = False) -> None:
    """Add the files that come from one input to the record; threads may.

    Of `finished` ones, which people may change, it has a digest.
    """
    lines = []
    for output in outputs:
        more = {"sha256": sha256_of(folder / output)} if finished else {}
        lines.append(json.dumps({"file_name": file_name, "output": output, **more}) + "\n")
    with _NOTING, (folder / RECORD).open("a", encoding="ascii") as file:
        file.writelines(lines)


def require_free(folder: Path, sources: Collection[Path], overwrite: bool) -> None:
    """See that no results of an earlier run and no image to be read lie in the output's folder.

    Raises:
        UserError: there are some, and `overwrite` does not say, or cannot be sure, that they may go.
    """
    own = {(folder / below).resolve() for below in ("", MASKS, LABELS)}
    inside = next((source for source in sources if source.exists() and source.resolve().parent in own), None)
    if inside is not None:
        raise UserError(f"The results would lie beside '{inside}' and might overwrite it; give another --output.")
    if os.path.exists(folder / RECORD):  # which raises nothing
        if overwrite:
            for name, digest in _recorded(folder):
                if digest and (folder / name).is_file() and sha256_of(folder / name) != digest:
                    raise UserError(
                        f"'{folder / name}' was changed since it was written, and --overwrite would lose that: move "
                        "such files elsewhere, or give another --output."
                    )
            return
        raise UserError(
            f"'{folder}' holds the results of an earlier run: give another --output, or --overwrite to replace them."
        )
    if os.path.exists(folder / RECORDS):
        raise UserError(
            f"'{folder}' has a {RECORDS} but no {RECORD}, which would say what else belongs to it: give another "
            "--output, or empty the folder."
        )


def remove_earlier(folder: Path) -> None:
    """Remove what the record of an earlier run names, if there is one, and nothing else.

    Raises:
        UserError: the record is damaged, or a file cannot be removed.
    """
    if not (folder / RECORD).exists():
        return
    try:
        for name in [
            *(name for name, _ in _recorded(folder)),
            RECORDS,
            UNFINISHED,
            TABLE,
            RECORD,
        ]:  # which is needed where this fails
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"'{error.filename}' cannot be removed ({error.strerror}); give another --output.") from error
    for below in (MASKS, LABELS):
        with suppress(OSError):  # where other files are in it
            (folder / below).rmdir()


def _recorded(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the files of an earlier run, and their digests or ""; names of other folders are refused."""
    try:
        with (folder / RECORD).open(encoding="ascii") as file:
            for line in (line for line in file if line.endswith("\n")):  # a kill cuts the last one
                entry = json.loads(line)
                name = entry["output"]
                parts = Path(name).parts
                if parts[:-1] not in ((), (MASKS,), (LABELS,)) or parts[-1:] in ((), ("..",)):
                    raise ValueError
                yield name, str(entry.get("sha256", ""))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"'{folder / RECORD}' is damaged, so that nothing is removed; give another --output.") from None
