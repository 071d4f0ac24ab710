"""The fixture that other tests rely on to notice hangs, deaths and memory."""

import os
import time

import numpy as np


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


def last_lines(ended) -> list[str]:
    return [end.fault.strip().rpartition("\n")[2] for end in ended]


def test_each_fault_is_named_and_the_others_go_on(in_child) -> None:
    ended = in_child(misbehave, ["good", "raise", "exit", "good", "die", "good"])
    assert last_lines(ended) == ["", "ValueError: so it goes", "SystemExit", "", "the process died: 3", ""]
    processes = [end.value.split()[-1] for end in ended if end.value]
    assert processes[0] == processes[1] != processes[2]
    assert str(os.getpid()) not in processes


def test_hangs_and_memory_are_noticed(in_child) -> None:
    cases = ["good", "hang", "go round", "good"]
    assert last_lines(in_child(misbehave, cases, seconds=0.3)) == ["", "hung", "hung", ""]
    assert last_lines(in_child(misbehave, ["good", "fill", "good"], memory=2**25))[1:] == ["took too much memory", ""]
