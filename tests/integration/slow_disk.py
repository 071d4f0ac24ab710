"""train.py on a disk that needs some seconds for a checkpoint; tests/integration/test_torchrun.py starts it."""

import time

import tests.configurations  # noqa: F401  # for its backbone
from yolact.cli import main
from yolact.engine import trainer

write = trainer.save_checkpoint


def write_slowly(*arguments, **options):
    time.sleep(4)
    write(*arguments, **options)


trainer.save_checkpoint = write_slowly
if __name__ == "__main__":
    main("train")
