"""What the exported modules compute, before they are exported."""

from dataclasses import replace

import pytest
import torch

from yolact.data.transforms import to_unit
from yolact.errors import UserError
from yolact.export.graphs import make_export
from yolact.models import build_model
from yolact.postprocess import select_detections

IMAGES = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def with_eval(loaded, **changes):
    """The same model with other settings."""
    return replace(loaded, config=replace(loaded.config, eval=replace(loaded.config.eval, **changes)))


def run(export, images=IMAGES):
    with torch.no_grad():
        return export.graph(images)


def forward(loaded, images=IMAGES):
    with torch.no_grad():
        return loaded.model(to_unit(images.permute(0, 3, 1, 2)))


def test_complete_outputs_are_the_detections(loaded):
    outputs = run(make_export(loaded, "complete"))
    expected = select_detections(forward(loaded), loaded.model.anchors, loaded.config.eval)
    assert outputs["counts"].tolist() == expected.counts.tolist() == [100, 100]
    for name in ("boxes", "scores", "labels"):
        torch.testing.assert_close(outputs[name], getattr(expected, name), atol=1e-4, rtol=0)
    assert ((outputs["masks"] > 0.5).sum((2, 3)) > 0).float().mean() > 0.5


def test_raw_outputs_are_the_predictions_and_anchors(loaded):
    outputs = run(make_export(loaded, "raw"))
    expected = forward(loaded)
    for name in ("class_logits", "box_deltas", "mask_coefficients", "prototypes"):
        torch.testing.assert_close(outputs[name], getattr(expected, name), atol=1e-4, rtol=1e-4)
    assert torch.equal(outputs["anchors"][1], loaded.model.anchors)


@pytest.mark.parametrize("contents", ["complete", "raw"])
def test_the_words_for_the_outputs_fit_them(loaded, contents):
    export = make_export(with_eval(loaded, max_detections=7), contents)
    outputs = run(export)
    assert list(outputs) == [port.name for port in export.outputs]
    for port in export.outputs:
        assert list(outputs[port.name].shape) == [2 if length == "batch" else length for length in port.shape]
        assert str(outputs[port.name].dtype) == f"torch.{port.dtype}"


def test_the_model_stays_as_it_is(loaded):
    model = build_model(loaded.config).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export = make_export(replace(loaded, model=model), "complete")
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in export.graph.modules())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training


def test_metadata_say_what_a_program_needs(loaded):
    complete = make_export(with_eval(loaded, crop="after_resize", nms="cross_class"), "complete").metadata
    assert complete["class_names"] == ["disc", "square", "étoile"]
    assert complete["category_ids"] == [1, 5, 9]
    assert (complete["image_size"], complete["mask_threshold"], complete["contents"]) == (64, 0.5, "complete")
    assert (complete["crop"], complete["nms"], complete["score_threshold"]) == ("after_resize", "cross_class", 0.05)
    assert make_export(loaded, "raw").metadata["box_variances"] == [0.1, 0.2]


def test_exact_nms_is_refused_where_it_would_be_in_the_graph(loaded):
    exact = with_eval(loaded, nms="exact")
    with pytest.raises(UserError, match=r"eval\.nms is exact.*eval\.nms=fast.*raw outputs"):
        make_export(exact, "complete")
    make_export(exact, "raw")
