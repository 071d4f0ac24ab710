"""A page to try a model, by gradio: image or camera in, drawn objects and their COCO records out."""

import ipaddress
import socket
import threading
from pathlib import Path
from typing import Any

import gradio
import numpy as np
import PIL.Image
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from yolact.data.images import read_image
from yolact.data.samples import PLAIN, Colours
from yolact.draw import display_scale
from yolact.errors import UserError
from yolact.instances import Instances
from yolact.predictor import Predictor
from yolact.text import counted, printable

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
LOW_SCORE = 0.05  # everything above it is found, so that the threshold moves without asking the model again
DRAWN = ["masks", "boxes", "labels"]


def build_page(predictor: Predictor, weights: str, max_pixels: int) -> gradio.Blocks:
    """Make the page of a model; `weights` is the name of its file, and larger images than `max_pixels` are refused."""
    names, low = predictor.class_names, max(LOW_SCORE, predictor.lowest_score)

    def find(path: str | None) -> Instances | None:
        return None if path is None else predictor(read_upload(Path(path), max_pixels, predictor.colours), low)

    def show(found: Instances | None, threshold: float, classes: list[int], drawn: list[str]) -> Any:
        if found is None:
            return None, "", []
        found = found.filter(classes or None)
        found = found[found.scores > threshold]
        records = found.to_coco(image_id=1)
        for record, label in zip(records, found.labels.tolist(), strict=True):
            record["category_name"] = names[label]
        options: dict[str, Any] = {option: option in drawn for option in DRAWN}
        return found.plot(scale=display_scale(*found.image_size), **options)[:, :, ::-1], repr(found), records

    def show_live(image: np.ndarray | None, *settings: Any) -> Any:
        return show(None if image is None else predictor(image[:, :, ::-1], low), *settings)

    with gradio.Blocks(title="YOLACT", analytics_enabled=False, delete_cache=(60, 600)) as page:
        model = f"{printable(predictor.config.name)} ({printable(weights)}), {counted(len(names), 'class', 'classes')}"
        gradio.Textbox(f"{model}, on {predictor.device}", label="YOLACT model", interactive=False)
        state = gradio.State()
        with gradio.Row():
            with gradio.Column():
                with gradio.Tab("Image"):
                    image = gradio.Image(type="filepath", label="Drop, paste or choose an image, or take a photo")
                    # gradio, which has checked that the file is an upload, would open it here without our limits.
                    image.preprocess = lambda data: data.path if data else None  # type: ignore
                with gradio.Tab("Live camera"):
                    camera = gradio.Image(sources=["webcam"], streaming=True, label="Camera")
                threshold = gradio.Slider(low, 1, max(low, 0.3), step=0.01, label="Score threshold")
                # Who types 0.5 types 0 first, which gradio would refuse, with a traceback on the terminal.
                threshold.preprocess = lambda value: min(max(value or low, low), 1)  # type: ignore
                choices = [(printable(name), label) for label, name in enumerate(names)]
                classes = gradio.Dropdown(choices, multiselect=True, value=[], label="Classes (none: all)")
                drawn = gradio.CheckboxGroup(DRAWN, value=DRAWN, label="Draw")
            with gradio.Column():
                result = gradio.Image(label="Objects", format="png", interactive=False, buttons=["download"])
                summary = gradio.Textbox(label="Found", interactive=False)
                with gradio.Accordion("Records in COCO's format", open=False):
                    records = gradio.JSON(show_label=False)
        settings, outputs = [threshold, classes, drawn], [result, summary, records]
        image.change(find, image, state, api_name="find").success(show, [state, *settings], outputs, api_name="show")
        changes = [threshold.change, classes.change, drawn.change]
        gradio.on(changes, show, [state, *settings], outputs, show_progress="hidden", api_visibility="private")
        camera.stream(show_live, [camera, *settings], outputs, stream_every=0.2, show_progress="hidden")
    return page.queue(max_size=16, default_concurrency_limit=1)


def read_upload(path: Path, max_pixels: int, colours: Colours = PLAIN) -> np.ndarray:
    """Decode an upload to uint8 [H, W, 3] BGR; its size is read from its header first.

    Raises:
        gradio.Error: it is no image of a known kind, too large, or damaged; the page shows the sentence.
    """
    reason = f"This is not an image that can be read ({', '.join(KINDS)}), or it is damaged; try another file."
    try:
        with PIL.Image.open(path, formats=KINDS) as header:
            width, height = header.size
        if width * height <= max_pixels:
            return read_image(path, colours=colours)
        reason = f"The image has {width} x {height} pixels, more than the limit of {max_pixels / 1e6:g} megapixels; "
        reason += "scale it down, or start with a larger --max-megapixels."
    except Exception:  # of many classes, where the header is damaged
        pass
    raise gradio.Error(reason, print_exception=False)


def find_port(host: str, port: int) -> tuple[str, int, bool]:
    """Return the address and port to listen at, and whether only this machine reaches them; port 0 finds a free one.

    Raises:
        UserError: there is no such address, or somebody else listens there.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port rests for a minute after use
            opened.bind(address)
            found, port = opened.getsockname()[:2]
    except (OSError, UnicodeError) as error:
        message = f"Cannot listen on {host}, port {port} ({getattr(error, 'strerror', None) or error})"
        raise UserError(f"{message}; give another --host, or --port (0: a free one).") from None
    return found, port, ipaddress.ip_address(found).is_loopback


async def refuse_post(_: Request) -> PlainTextResponse:
    """Say what programs should do instead of sending images to the page's address."""
    return PlainTextResponse("Programs send images by gradio_client, as `yolact demo --help` shows.\n", 405)


def serve(page: gradio.Blocks, host: str, port: int, is_local: bool, max_bytes: int) -> None:
    """Serve a page until KeyboardInterrupt; uploads of more than `max_bytes` are refused."""
    # By DNS rebinding (a name of its own that suddenly means 127.0.0.1) a page of another site could use this one, so
    # that only names of this machine are answered to. "[" is what Starlette sees of an IPv6 address, which is no name.
    names = ["localhost", "127.0.0.1", "[", host] if is_local else ["*"]
    app, url, _ = page.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=max_bytes,
        footer_links=[],
        theme=gradio.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
        app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=names)]},
    )
    app.add_route("/", refuse_post, methods=["POST"])
    try:
        print(f"Open {url} in a browser; Ctrl-C ends.", flush=True)
        threading.Event().wait()
    finally:
        page.close(verbose=False)
