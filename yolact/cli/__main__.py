"""`python -m yolact.cli VERB`, where the command `yolact` is not installed."""

from yolact.cli import main

main()
