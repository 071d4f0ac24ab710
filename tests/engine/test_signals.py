import signal
import subprocess
import sys

import pytest

from yolact.engine.signals import STOP_SIGNALS, Interrupted, stop_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_noted_and_nothing_else_happens(number, capfd):
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stop_signals() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.number == number
    assert f"{signal.Signals(number).name}: stopping after this step" in capfd.readouterr().err
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_where_nothing_is_lost_the_block_is_left_at_once():
    with stop_signals() as stop:
        with pytest.raises(Interrupted), stop.interrupting():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), stop.interrupting():
            pytest.fail("a block was entered after the signal")


LAUNCHED = """
import signal, time
from yolact.engine import signals
with signals.stop_signals() as stop:
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    print("the program went on", stop.number == signal.SIGUSR1, flush=True)
    signals.SECONDS_OF_ECHO = 0.0
    signal.raise_signal(signal.SIGTERM)
    print("and on")
"""


def test_what_a_launcher_passes_on_is_no_second_signal_until_later(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    command = [sys.executable, "-c", LAUNCHED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "the program went on True\n"
    assert done.returncode == 143
    assert done.stderr.count("stopping after this step") == 1
    assert done.stderr.count("SIGTERM again: left at once") == 1
