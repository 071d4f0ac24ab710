"""`yolact VERB`: one file a verb.

Each file has `add_arguments(parser)`, which imports nothing heavy, and `run(arguments)`, which imports what it needs
and returns an exit code or None. So `yolact --help` and `yolact VERB --help` answer at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from yolact.errors import exit_on_user_error

VERBS = {
    "train": "train a model, or go on with a training",
    "eval": "COCO metrics and speed of a model",
    "predict": "find objects in images, folders, videos and camera streams",
    "explain": "show what each mask is the sum of",
    "export": "write a model as ONNX or torch.export, and compare it with PyTorch",
    "check": "find faults in a data set, and anchors that suit it",
    "convert": "bring annotations of other tools into COCO's format",
    "weights": "download published weights, or convert them",
    "compare": "compare evaluations, runs or kinds of NMS",
    "benchmark": "measure speed and memory",
    "demo": "a page on this machine to try a model",
}


def main(*verb: str) -> NoReturn:
    """Run the command line `yolact`; `verb` stands before its arguments.

    A `UserError` becomes one line on stderr and exit code 2, Ctrl-C exit code 130; neither shows a traceback.
    """
    exit_on_user_error(lambda: run([*verb, *sys.argv[1:]], program=sys.argv[0] if verb else None))


def run(argv: Sequence[str], program: str | None = None) -> int | None:
    """Run one command and return its exit code.

    Args:
        argv: the verb and its arguments.
        program: the name to show in place of `yolact VERB`.

    Raises:
        UserError: a mistake of the user's, in one sentence.
    """
    verb = argv[0] if argv and argv[0] in VERBS else None
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    if verb is None:
        from yolact import __version__

        parser.prog, parser.description = "yolact", "YOLACT: real-time instance segmentation."
        parser.epilog = "verbs:\n" + "\n".join(f"  {name:10} {text}" for name, text in VERBS.items())
        parser.add_argument("--version", action="version", version=__version__)
        parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of those below, each with --help")
        parser.parse_args(argv or ["--help"])  # which ends the program
        return 2
    module = importlib.import_module(f"yolact.cli.{verb}")
    parser.prog, parser.description = program or f"yolact {verb}", module.__doc__
    module.add_arguments(parser)
    arguments = parser.parse_args(argv[1:])
    arguments.parser, arguments.command_line = parser, [parser.prog, *argv[1:]]
    code: int | None = module.run(arguments)
    return code
