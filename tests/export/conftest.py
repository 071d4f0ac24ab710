"""A tiny model with random weights, and the files exported from it."""

import pytest
import torch

from yolact.config import Config
from yolact.export import FORMATS, export_model
from yolact.export.pictures import generated_pictures
from yolact.models import build_model
from yolact.predictor import LoadedModel


@pytest.fixture(scope="session")
def loaded(tiny_config: Config) -> LoadedModel:
    """An untrained model, which finds a hundred objects in every picture."""
    torch.manual_seed(0)
    model = build_model(tiny_config).eval()
    return LoadedModel(model, tiny_config, ["disc", "square", "étoile"], [1, 5, 9])


@pytest.fixture(scope="session")
def exported(loaded, tmp_path_factory):
    """Return a function from a format's name to the path and the result of an export, made once."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def export(name):
        form = FORMATS[name]
        if form.container == "onnx":
            pytest.importorskip("onnxscript")
            pytest.importorskip("onnxruntime")
        if name not in made:
            path = folder / f"{name}{form.suffix}"
            made[name] = path, export_model(loaded, path, form, generated_pictures(64))
        return made[name]

    return export
