"""Mistakes that a user can mend: one sentence that says what was expected, what was found, where, and what to do."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Base of all errors whose message is meant for the person at the command line."""


class ConfigError(UserError):
    """A configuration file or override is wrong."""


class DatasetError(UserError):
    """An annotation file or image is wrong; `kind` is the fault's name in yolact/tools/inspect/findings.py, if any."""

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class LoaderError(UserError):
    """A process that loads images or encodes masks died, hangs, or has no memory to hand over what it made."""


class LostProcessError(UserError):
    """Another process of a program that torchrun started ended, or cannot be reached."""


class GaveUpError(LostProcessError):
    """Another process of a program that torchrun started gave up, and says why itself."""

    def __init__(self) -> None:
        super().__init__("Another process of this program gave up, as it says itself.")


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not belong to this model."""


class DownloadError(UserError):
    """A file cannot be fetched whole, or is not the one that was expected."""


def exit_on_user_error(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line and exit with what it returns.

    A `UserError`, or a GPU without memory left, becomes one line on stderr and exit code 2, Ctrl-C exit code 130, a
    reader that has read enough (`| head`) exit code 141; none shows a traceback.
    """
    try:
        code = main()
        sys.stdout.flush()
        sys.exit(code)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; nobody may have imported torch
            raise
        detail = str(error).split(". ")[:2][-1]  # after "CUDA out of memory": how much was asked for
        print(
            f"error: The GPU has no memory left ({detail}): end other programs that use it, lower the batch size, or "
            "give --device cpu.",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python writes while it ends
        sys.exit(141)
