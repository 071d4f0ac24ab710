"""The text log of a run: the console above the progress bar, and log.txt."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

LOG_FORMAT = "%(asctime)s %(message)s"


class _TqdmHandler(logging.Handler):
    """Print log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except OSError:
            self.setLevel(logging.CRITICAL + 1)  # the terminal is gone; the run and log.txt go on


class _LogFile(logging.FileHandler):
    """A log that gives up with one line where it cannot be written, instead of a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        print(f"{self.baseFilename} cannot be written any more: {sys.exc_info()[1]}", file=sys.stderr)
        self.setLevel(logging.CRITICAL + 1)


def set_up_logging(folder: Path | None, rank: int = 0) -> None:
    """Send the package's log lines to the console and to log.txt in `folder`; other ranks print warnings alone."""
    logger = logging.getLogger("yolact")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    console = _TqdmHandler()
    console.setFormatter(logging.Formatter("%(message)s" if rank == 0 else f"[rank {rank}] %(message)s"))
    logger.addHandler(console)
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    if folder is not None:
        file = _LogFile(folder / "log.txt")
        file.setFormatter(logging.Formatter(LOG_FORMAT))
        logger.addHandler(file)
