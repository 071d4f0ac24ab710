"""`python eval.py ...` is `yolact eval ...`."""

from yolact.cli import main

if __name__ == "__main__":
    main("eval")
