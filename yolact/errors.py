"""Mistakes that a user can mend: one sentence that says what was expected, what was found, where, and what to do."""

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Base of all errors whose message is meant for the person at the command line."""


class ConfigError(UserError):
    """A configuration file or override is wrong."""


class DatasetError(UserError):
    """An annotation file or a picture is wrong."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not belong to this model."""


def exit_on_user_error(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line and exit with what it returns.

    A `UserError` becomes one line on stderr and exit code 2, Ctrl-C exit code 130; neither shows a traceback.
    """
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
