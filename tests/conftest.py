"""Fixtures for the whole suite: where the optional sample data lies, and one thread so that runs repeat."""

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with sample data sets beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the sample data sets (../shared) are not beside this checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)
