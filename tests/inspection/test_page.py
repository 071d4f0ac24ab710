"""The page: complete, self-contained, and safe whatever a data set writes into its names."""

import re
from dataclasses import replace

import pytest

from yolact.inspection.check import inspect, sources_of
from yolact.inspection.page import render
from yolact.inspection.summary import closing_line, summary_lines

EVIL = "<script>alert('\"&')</script>"


def test_the_page_of_a_planted_set_shows_every_finding(planted, planted_counts, parse_page) -> None:
    report = inspect(sources_of(planted), planted)
    page = render(report)
    checker = parse_page(page)
    assert "script" not in checker.tags
    assert all(source.startswith("data:image/jpeg;base64,") for source in checker.sources)
    assert not re.search(r"https?:|url\(|@import", page)
    assert "Content-Security-Policy" in page
    for _, kind in planted_counts:
        assert f"<code>{kind}</code>" in page
    assert "23 kinds of errors" in page
    assert closing_line(report) == "23 kinds of errors, 17 kinds of warnings"
    assert len(page) < 5_000_000
    random = page.index("Pictures of train")
    assert page.index("Findings") < page.index("Anchors") < page.index("Pictures with findings") < random
    assert page[:random].count("<img") == 15  # of the pictures with findings, those that can be read


def test_a_clean_set_has_no_findings(clean, parse_page) -> None:
    config = clean.write()
    report = inspect(sources_of(config), config)
    page = render(report)
    assert parse_page(page).sources
    assert page.count("<img") == 24
    assert "No faults were found." in page
    assert "<h2>Findings" not in page
    assert "no faults were found" in summary_lines(report)
    assert closing_line(report) == "no errors, no warnings"


@pytest.mark.parametrize("value", [EVIL, "\ud800", "a\nb", "x" * 5000, "<img src=x onerror=alert(1)>"])
def test_names_are_escaped_everywhere(clean, value, parse_page) -> None:
    data = clean.train
    data["categories"][0]["name"] = data["categories"][1]["name"] = value  # also a finding, which quotes it
    data["images"][1]["file_name"] = value  # missing
    data["annotations"][4]["category_id"] = value
    data["annotations"][6]["bbox"] = value
    name = f"{value[:50]}.jpg".replace("/", "").replace("\ud800", "s")
    (clean.folder / "train/1.jpg").rename(clean.folder / "train" / name)
    data["images"][0]["file_name"] = name
    config = clean.write()
    report = inspect(sources_of(config), config)
    page = render(report)
    checker = parse_page(page)
    assert "script" not in checker.tags
    assert all(source.startswith("data:") for source in checker.sources)
    page.encode()
    "\n".join(summary_lines(report)).encode()
    if value == EVIL:
        assert any(EVIL in text for text in checker.texts)


def test_bad_anchors_are_no_fault_but_said_first(clean, parse_page) -> None:
    config = clean.write()
    anchors = replace(config.model.anchors, scales=((2.0,),) * 5)
    config = replace(config, model=replace(config.model, anchors=anchors))
    report = inspect(sources_of(config), config)
    page = render(report)
    assert "No faults were found, but only 0.0 % of the objects meet an anchor" in page
    assert "Suggested: " in page
    assert any("model.anchors.scales=[[" in line for line in summary_lines(report))
    parse_page(page)


def test_an_empty_set_has_a_page(clean, parse_page) -> None:
    clean.train.update(images=[], annotations=[], categories=[])
    config = clean.write()
    report = inspect([sources_of(config)[0]], config)
    assert "no objects" in render(report)
    parse_page(render(report))
