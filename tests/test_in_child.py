"""The fixture that other tests rely on to notice hangs, deaths and memory."""

import os
import time

import numpy as np
import pytest


def misbehave(case: str) -> str:
    match case:
        case "raise":
            raise ValueError("so it goes")
        case "exit":
            raise SystemExit
        case "die":
            os._exit(3)
        case "hang":
            time.sleep(60)
        case "go round":
            while True:
                pass
        case "fill":
            np.ones(80 * 2**20, np.uint8)  # well over the limit, as the process may free what it inherited
    return f"{case} in {os.getpid()}"


@pytest.mark.parametrize(
    ("cases", "limits", "ends"),
    [
        (
            ["good", "raise", "exit", "good", "die", "good"],
            {},
            ["", "ValueError: so it goes", "SystemExit", "", "the process died: 3", ""],
        ),
        (["good", "hang", "go round", "good"], {"seconds": 0.3}, ["", "hung", "hung", ""]),
        (["fill", "good"], {"memory": 2**25}, ["took too much memory", ""]),
    ],
)
def test_each_fault_is_named_and_the_others_go_on(in_child, cases, limits, ends) -> None:
    ended = in_child(misbehave, cases, **limits)
    assert [end.fault.strip().rpartition("\n")[2] for end in ended] == ends
    assert str(os.getpid()) not in [end.value.split()[-1] for end in ended if end.value]
