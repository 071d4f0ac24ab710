"""`python train.py ...` is `yolact train ...`."""

from yolact.cli import main

if __name__ == "__main__":
    main("train")
