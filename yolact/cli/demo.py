"""Open a local page to try a model: drop an image or use the camera, move the threshold, choose classes.

yolact demo --weights runs/shapes/quickstart/best.pth

It listens on this machine only and asks no other host. To use it from another machine, forward the port
(ssh -L 8000:127.0.0.1:8000 HOST) rather than giving --host. Uploads are kept in a temporary folder until it ends.

Programs ask it by gradio_client, which comes with gradio, for what the page shows, with COCO records:
    client = gradio_client.Client("http://127.0.0.1:8000")
    client.predict(gradio_client.handle_file("street.jpg"), api_name="/find")
    file, text, records = client.predict(0.3, [], ["masks", "boxes", "labels"], api_name="/show")
which takes the score threshold (below 0.05 is as 0.05), labels of classes ([]: all) and what to draw.
"""

import argparse
import os
import sys
import tempfile

from yolact.cli.arguments import add_model, load_chosen_predictor, number
from yolact.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `yolact demo`."""
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, default 127.0.0.1: this machine")
    port = number("number of a port", lambda value: 0 <= value <= 65535, int)
    parser.add_argument("--port", type=port, default=8000, help="default 8000; 0 takes a free one")
    megapixels = number("number above 0, at most 100", lambda value: 1e-6 <= value <= 100)
    parser.add_argument("--max-megapixels", type=megapixels, default=40, help="of images, default 40")
    megabytes = number("number above 0, at most 1000", lambda value: 1e-6 <= value <= 1000)
    parser.add_argument("--max-megabytes", type=megabytes, default=20, help="of uploads, default 20")


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="yolact-demo-") as folder:
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # gradio asks its own server whether it has started
        try:
            from yolact.tools.demo import build_page, find_port, serve
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise UserError("The page needs gradio, which is missing; run: pip install gradio") from None
        host, port, is_local = find_port(arguments.host, arguments.port)
        predictor = load_chosen_predictor(arguments)
        if not predictor.colours.has_colours:
            raise UserError(
                f"The page takes photographs, but '{arguments.weights}' takes images of {predictor.colours.channels} "
                "bands (model.channels): use `yolact predict`."
            )
        if not is_local:
            print("warning: everybody who reaches this machine over the network can use the page.", file=sys.stderr)
        page = build_page(predictor, arguments.weights.name, round(arguments.max_megapixels * 1e6))
        serve(page, host, port, is_local, round(arguments.max_megabytes * 1e6))
