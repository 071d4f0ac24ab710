"""The authors' figures for two configurations; `python tests/parity/compare.py` checks all of them."""

import pytest
import torch
from compare import compare, published_state_dict

from yolact.compat import dbolya


@pytest.mark.parametrize("name", ["yolact_resnet50_pascal", pytest.param("yolact_darknet53", marks=pytest.mark.long)])
def test_every_figure_of_the_authors_is_met(name):
    missed = [check for check in compare(name) if not check.passed]
    assert not missed


@pytest.mark.parametrize("name", ["yolact_resnet50", "yolact_darknet53", "yolact_plus_base"])
def test_conversion_is_undone_by_export(name):
    weights = published_state_dict(name)
    back = dbolya.export(dbolya.convert(weights))
    assert list(back) == list(weights)
    assert all(torch.equal(back[key], weights[key]) for key in weights)
