"""train.py on a disk that needs some seconds for a checkpoint; tests/integration/test_torchrun.py starts it."""

import sys
import time

import train
from yolact.engine import run

write = run.save_checkpoint


def write_slowly(*arguments, **options):
    time.sleep(4)
    write(*arguments, **options)


run.save_checkpoint = write_slowly
if __name__ == "__main__":
    sys.exit(train.main())
