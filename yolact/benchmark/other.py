"""Another implementation to measure beside this one: a Python file of the user's that builds the same stages.

The file has a function for each stage that it wants compared, by the names and with the arguments that the functions
of `yolact.benchmark` say; what it leaves out is measured for this project alone. Its stages turn gradients off by
themselves where they need none.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolact.device import DTYPES
from yolact.errors import UserError

COMPARED = ", compared"  # what the names of the other implementation's stages end with


def base_name(stage: str) -> str:
    """Return the name of a stage without its precision, or without the mark of the other implementation."""
    name = stage.removesuffix(COMPARED)
    ending = next((f" {precision}" for precision in DTYPES if name.endswith(f" {precision}")), "")
    return name.removesuffix(ending)


def load_builder(path: Path, stage: str) -> Callable[..., Any] | None:
    """Return the function of this name in a user's file, or None if it has none.

    Raises:
        UserError: the file is missing or cannot be imported.
    """
    specification = importlib.util.spec_from_file_location("compared_implementation", path)
    if specification is None or specification.loader is None or not path.is_file():
        raise UserError(f"'{path}' is no Python file; --compare expects one that builds stages to compare with.")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"'{path}' cannot be imported ({type(error).__name__}: {error}); --compare expects a Python file that "
            "builds stages to compare with."
        ) from error
    builder: Callable[..., Any] | None = getattr(module, stage, None)
    return builder
