"""Open a local page to try a model: drop a picture or use the camera, move the threshold, switch classes.

python scripts/serve.py --weights runs/shapes/quickstart/best.pth

Pictures stay in the memory of this program and of the browser. It listens on this machine only; to use it from another
one, forward the port (ssh -L 8000:127.0.0.1:8000 HOST) rather than giving --host.
"""

import argparse
import sys
from pathlib import Path

import cv2

from yolact.config import load_config
from yolact.data.pictures import MAX_PIXELS
from yolact.device import pick_device, resolve_precision
from yolact.errors import UserError, exit_on_user_error
from yolact.predictor import Predictor, load_model


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    arguments = parse_arguments(argv)
    try:
        from yolact.serve.app import create_app
        from yolact.serve.guard import LOOPBACK_NAMES
        from yolact.serve.server import is_loopback, make_server, open_socket, url_of
        from yolact.serve.uploads import Limits
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UserError(f"The page needs {error.name}, which is missing; run: pip install starlette uvicorn") from None
    device = pick_device(arguments.device)
    limits = Limits(round(arguments.max_megapixels * 1e6), round(arguments.max_megabytes * 1e6))
    config = load_config(arguments.config) if arguments.config else None
    with open_socket(arguments.host, arguments.port) as opened:
        loaded = load_model(arguments.weights, device, config, arguments.set)
        predictor = Predictor(loaded, resolve_precision(arguments.precision, device))
        hosts = LOOPBACK_NAMES | {arguments.host.lower()} if is_loopback(opened) else None
        if hosts is None:
            print(
                "warning: everybody who reaches this machine over the network can use the model and see no password.",
                file=sys.stderr,
            )
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # damaged uploads are answered, not logged
        app = create_app(predictor, arguments.weights, limits, hosts)
        address = url_of(opened)
        server = make_server(app, lambda: print(f"Open {address} in a browser; Ctrl-C ends.", flush=True))
        server.run(sockets=[opened])


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint, ours or published by the authors")
    parser.add_argument("--config", type=Path, help="default: the configuration in the checkpoint")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="e.g. eval.nms=cross_class"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on, default 127.0.0.1: this machine only"
    )
    parser.add_argument("--port", type=_port, default=8000, help="default 8000; 0 takes a free one")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: cuda where there is some")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16", "auto"), default="fp32", help="of the network, default fp32"
    )
    parser.add_argument(
        "--max-megapixels", type=_megapixels, default=40, metavar="X", help="larger pictures are refused, default 40"
    )
    parser.add_argument(
        "--max-megabytes", type=_megabytes, default=20, metavar="X", help="larger uploads are refused, default 20"
    )
    return parser.parse_args(argv)


def _port(text: str) -> int:
    return int(_between(text, 0, 65535))


def _megapixels(text: str) -> float:
    return _between(text, 1e-6, MAX_PIXELS / 1e6)


def _megabytes(text: str) -> float:
    return _between(text, 1e-6, 1000)


def _between(text: str, low: float, high: float) -> float:
    value = float(text)
    if not low <= value <= high:
        raise ValueError
    return value


# argparse puts these into its messages.
_port.__name__ = "number of a port"
_megapixels.__name__ = f"number above 0, at most {MAX_PIXELS / 1e6:g}"
_megabytes.__name__ = "number above 0, at most 1000"

if __name__ == "__main__":
    exit_on_user_error(main)
