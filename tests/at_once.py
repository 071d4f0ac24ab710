"""Shows each failure at once, as the time of the tests may end: `pytest -p tests.at_once` of scripts/gpu_check.sh."""

from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    if report.failed:
        print(f"\n{report.nodeid}\n{report.longreprtext[-3000:]}", flush=True)
