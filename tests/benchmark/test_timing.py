import torch

from yolact.benchmark.timing import TakenElsewhere, Times, take_turns


def test_every_stage_comes_first_as_often_as_any_other():
    calls = []
    stages = {name: lambda number, name=name: calls.append((number, name)) for name in "abc"}
    times = take_turns(stages, repeats=6, warmup=3, device=torch.device("cpu"))
    assert {name: len(own.values) for name, own in times.items()} == {"a": 6, "b": 6, "c": 6}
    turns = [[name for number, name in calls if number == turn] for turn in range(9)]
    assert [turn[0] for turn in turns] == list("abcabcabc")
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)


def test_figures_by_hand():
    times = Times([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (times.median, times.p95) == (3.0, 100.0)
    assert times.per_second == 1000 / 22
    assert times.summary()["min_ms"] == 1.0


def test_what_works_elsewhere_is_timed_there():
    stages = {"there": lambda turn: TakenElsewhere(5.0 + turn)}
    times = take_turns(stages, repeats=2, warmup=1, device=torch.device("cpu"))
    assert times["there"].values == [6.0, 7.0]
