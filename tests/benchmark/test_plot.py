from yolact.benchmark.other import base_name
from yolact.benchmark.plot import beside, draw_bars, values_of

TIMES = {
    "decode": {"median_ms": 2.0},
    "head fp32": {"median_ms": 40.0},
    "head bf16": {"median_ms": 20.0},
    "decode, compared": {"median_ms": 3.0},
    "head, compared": {"median_ms": 60.0},
}
RESULT = {
    "device": "cpu",
    "versions": {"torch": "2"},
    "parts": {"stages": TIMES, "ratios": {"decode": 1.5}},
    "evaluation": {"seconds": {"evaluation, hotcoco": 0.5}, "figures": {}, "pictures": 5},
    "memory": {"step": {"peak": 3 * 2**20, "grown": 2**20}, "sample": {"peak": None, "grown": None}},
}


def test_names_without_what_tells_two_measurements_apart():
    assert base_name("head bf16") == base_name("head, compared") == "head"
    assert base_name("Fast NMS 50") == "Fast NMS 50"


def test_compared_stages_come_after_their_own():
    values = {name: times["median_ms"] for name, times in TIMES.items()}
    assert list(beside(values)) == ["decode", "decode, compared", "head fp32", "head bf16", "head, compared"]


def test_one_panel_for_each_stage_with_its_unit():
    assert values_of(RESULT)["evaluation"] == ("seconds", {"evaluation, hotcoco": 0.5})
    assert values_of(RESULT)["memory"] == ("peak memory in MB", {"step": 3.0})  # what is unknown has no bar
    axes = draw_bars(RESULT).axes
    assert [axis.get_title(loc="left").partition(":")[0] for axis in axes] == ["parts", "evaluation", "memory"]
    bars = axes[0].patches
    assert [bar.get_width() for bar in bars] == [2.0, 3.0, 40.0, 20.0, 60.0]
    own, other = bars[0].get_facecolor(), bars[1].get_facecolor()
    assert own != other
    assert [bar.get_facecolor() for bar in bars] == [own, other, own, own, other]
    assert [label.get_text() for label in axes[0].texts] == ["2", "3", "40", "20", "60"]
