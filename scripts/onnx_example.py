"""Find objects with an exported ONNX file: ONNX Runtime, NumPy and OpenCV alone, nothing of this project.

pip install onnxruntime numpy opencv-python
python onnx_example.py yolact.onnx street.jpg --output found.png

Copy it and change it: `detect` is all that a program needs. The file comes from `yolact export --format onnx`.
"""

import argparse
import json
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime


class Objects(NamedTuple):
    """What was found in one picture, in its own pixels, by descending score."""

    boxes: np.ndarray  # float32 [N, 4] x1 y1 x2 y2
    scores: np.ndarray  # float32 [N]
    labels: np.ndarray  # int64 [N], places in the list of class names
    masks: np.ndarray  # bool [N, H, W]


def main(argv: list[str] | None = None) -> int:
    """Run the command line: list the objects, and draw them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a file written by `yolact export --format onnx`")
    parser.add_argument("picture")
    parser.add_argument("--threshold", type=float, default=0.3, help="smallest score, default 0.3")
    parser.add_argument("--output", help="a picture to write, with masks and boxes drawn")
    arguments = parser.parse_args(argv)
    session, about = load(arguments.model)
    if about.get("contents") != "complete":
        print(f"error: '{arguments.model}' is no complete export; make one with --format onnx", file=sys.stderr)
        return 2
    picture = cv2.imread(arguments.picture, cv2.IMREAD_COLOR)
    if picture is None:
        print(f"error: '{arguments.picture}' cannot be read as a picture", file=sys.stderr)
        return 2
    found = detect(session, about, picture, arguments.threshold)
    for box, score, label, mask in zip(*found, strict=True):
        corners = " ".join(f"{corner:.0f}" for corner in box)
        print(f"{about['class_names'][label]} {score:.2f}, box {corners}, {mask.sum()} pixels")
    if arguments.output and not cv2.imwrite(arguments.output, draw(picture, found, about["class_names"])):
        print(f"error: '{arguments.output}' cannot be written", file=sys.stderr)
        return 2
    return 0


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open an exported file, and read what it says about itself: class names, size of the input and so on."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    return session, {key: json.loads(value) for key, value in texts.items()}


def detect(session: onnxruntime.InferenceSession, about: dict[str, Any], picture: np.ndarray, score: float) -> Objects:
    """Find the objects of a picture, uint8 [H, W, 3] BGR as OpenCV reads it, with a higher score than `score`."""
    side = about["image_size"]
    stretched = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
    images = cv2.cvtColor(stretched, cv2.COLOR_BGR2RGB)[None]
    outputs = session.run(["boxes", "scores", "labels", "masks", "counts"], {"images": images})
    counts = outputs.pop()
    boxes, scores, labels, masks = (output[0, : counts[0]] for output in outputs)
    kept = scores > score
    height, width = picture.shape[:2]
    boxes = boxes[kept] * np.array([width, height, width, height], np.float32) / side
    boxes = boxes.clip(0, np.array([width, height, width, height], np.float32))
    pasted = [paste(mask, box, picture.shape, about) for mask, box in zip(masks[kept], boxes, strict=True)]
    return Objects(boxes, scores[kept], labels[kept], np.array(pasted, bool).reshape(-1, height, width))


def paste(mask: np.ndarray, box: np.ndarray, shape: tuple[int, ...], about: dict[str, Any]) -> np.ndarray:
    """Turn a small mask of probabilities into one of the picture, bool [H, W]."""
    large = cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) > about["mask_threshold"]
    if about["crop"] == "after_resize":  # otherwise the small mask is cropped, or is not to be
        x1, y1, x2, y2 = box
        rows, columns = np.arange(shape[0])[:, None] + 0.5, np.arange(shape[1]) + 0.5
        large &= (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
    return large


def draw(picture: np.ndarray, found: Objects, class_names: list[str]) -> np.ndarray:
    """Return a copy of the picture with everything drawn, the best on top."""
    canvas = picture.copy()
    for box, score, label, mask in reversed(list(zip(*found, strict=True))):
        colour = np.random.default_rng(label).integers(60, 256, 3)
        canvas[mask] = (0.5 * canvas[mask] + 0.5 * colour).astype(np.uint8)
        x1, y1, x2, y2 = (round(float(corner)) for corner in box)
        paint = tuple(map(int, colour))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), paint, 2)
        text = f"{class_names[label]} {score:.2f}"
        cv2.putText(canvas, text, (x1 + 3, max(y1 + 14, 14)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, paint, 1, cv2.LINE_AA)
    return canvas


if __name__ == "__main__":
    sys.exit(main())
