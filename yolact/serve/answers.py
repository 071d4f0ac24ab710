"""What the page is told: the model, and the instances of a picture."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from yolact.draw import colour, encode_png, resize_picture
from yolact.predictor import Predictor
from yolact.serve.uploads import Limits, decode_upload
from yolact.structures import Instances

LOW_SCORE = 0.05  # everything above it is sent, so that the page can move the threshold without asking again
SHOWN_SIDE = 1600  # longer side of a picture that is sent back, in pixels


def describe_model(predictor: Predictor, weights: Path, limits: Limits) -> dict[str, Any]:
    """Return what the page shows and minds: names, classes, where the model runs, and the limits."""
    return {
        "name": predictor.config.name,
        "weights": weights.name,
        "classes": predictor.class_names,
        "device": str(predictor.device),
        "low_score": LOW_SCORE,
        "max_bytes": limits.max_bytes,
        "max_pixels": limits.max_pixels,
    }


class Finder:
    """Turns the bytes of an upload into the bytes of an answer."""

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor = predictor
        self.limits = limits

    def __call__(self, data: bytes, with_picture: bool) -> bytes:
        """Decode, predict and describe.

        Args:
            data: a picture file.
            with_picture: also send the picture back, for browsers that cannot show its kind.

        Returns:
            JSON: width, height, milliseconds (by stage), instances (see `describe_instances`), and picture (a data
            URL) where it was asked for.

        Raises:
            HTTPException: as `decode_upload`.
        """
        milliseconds: dict[str, float] = {}
        with _timed(milliseconds, "decode"):
            picture = decode_upload(data, self.limits)
        with _timed(milliseconds, "model"):
            found = self.predictor(picture, LOW_SCORE)
        with _timed(milliseconds, "describe"):
            instances = describe_instances(found)
        height, width = found.image_size
        answer = {"width": width, "height": height, "milliseconds": milliseconds, "instances": instances}
        if with_picture:
            answer["picture"] = _data_url(picture)
        return json.dumps(answer).encode()


def describe_instances(found: Instances) -> list[dict[str, Any]]:
    """Return for each instance, best first, its class name, its colour in drawings, and its COCO record.

    The record's mask is run-length encoded, which is exact and a few kilobytes even in large pictures.
    """
    numbers = range(len(found)) if len(found.class_names) == 1 else found.labels.tolist()
    return [
        {"category_name": found.class_names[label], "colour": _css(number), "record": record}
        for label, number, record in zip(found.labels.tolist(), numbers, found.to_coco(image_id=1), strict=True)
    ]


def _css(number: int) -> str:
    blue, green, red = colour(number)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _data_url(picture: np.ndarray) -> str:
    scale = min(1, SHOWN_SIDE / max(picture.shape[:2]))
    return "data:image/png;base64," + base64.b64encode(encode_png(resize_picture(picture, scale))).decode()


@contextmanager
def _timed(milliseconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    milliseconds[stage] = round(1000 * (time.perf_counter() - start), 1)
