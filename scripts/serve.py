"""Open a local page to try a model: drop a picture or use the camera, move the threshold, switch classes.

python scripts/serve.py --weights runs/shapes/quickstart/best.pth

Pictures stay in the memory of this program and of the browser. It listens on this machine only; to use it from another
one, forward the port (ssh -L 8000:127.0.0.1:8000 HOST) rather than giving --host.
"""

import argparse
import sys
from collections.abc import Callable

import cv2

from yolact.command_line import add_device, add_model, load_chosen_model, number
from yolact.data.images import MAX_PIXELS
from yolact.device import pick_device, resolve_precision
from yolact.errors import UserError, exit_on_user_error
from yolact.predictor import Predictor


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
    with open_socket(arguments.host, int(arguments.port)) as opened:
        loaded = load_chosen_model(arguments, device)
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
    add_model(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on, default 127.0.0.1: this machine only"
    )
    port = number("number of a port", lambda value: 0 <= value <= 65535)
    parser.add_argument("--port", type=port, default=8000, help="default 8000; 0 takes a free one")
    add_device(parser)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16", "auto"), default="fp32", help="of the network, default fp32"
    )
    parser.add_argument(
        "--max-megapixels", type=_up_to(MAX_PIXELS / 1e6), default=40, metavar="X",
        help="larger pictures are refused, default 40",
    )  # fmt: skip
    parser.add_argument(
        "--max-megabytes", type=_up_to(1000), default=20, metavar="X", help="larger uploads are refused, default 20"
    )
    return parser.parse_args(argv)


def _up_to(most: float) -> Callable[[str], float]:
    return number(f"number above 0, at most {most:g}", lambda value: 1e-6 <= value <= most)


if __name__ == "__main__":
    exit_on_user_error(main)
