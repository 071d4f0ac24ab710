"""Find objects with an exported ONNX file: ONNX Runtime, NumPy and OpenCV alone, nothing of this project.

pip install onnxruntime numpy opencv-python
python onnx_example.py yolact.onnx street.jpg --output found.png

Copy it and change it: `detect` is all that a program needs. The file comes from `yolact export --format onnx`.
"""

import argparse
import json
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime

FILL = (124, 117, 104)  # RGB of the input where no image is


class Objects(NamedTuple):
    """What was found in one image, in its own pixels, by descending score."""

    boxes: np.ndarray  # float32 [N, 4] x1 y1 x2 y2
    scores: np.ndarray  # float32 [N]
    labels: np.ndarray  # int64 [N], places in the list of class names
    masks: np.ndarray  # bool [N, H, W]


def main(argv: list[str] | None = None) -> None:
    """Run the command line: list the objects, and draw them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a file written by `yolact export --format onnx`")
    parser.add_argument("image")
    parser.add_argument("--threshold", type=float, default=0.3, help="smallest score, default 0.3")
    parser.add_argument("--output", help="an image to write, with masks and boxes drawn")
    arguments = parser.parse_args(argv)
    session, about = load(arguments.model)
    if about.get("contents") != "complete":
        parser.error(f"'{arguments.model}' is no complete export; make one with --format onnx")
    if session.get_inputs()[0].shape[-1] != 3:
        parser.error(f"'{arguments.model}' takes other images than RGB, which alone this example reads")
    image = cv2.imread(arguments.image, cv2.IMREAD_COLOR)
    if image is None:
        parser.error(f"'{arguments.image}' cannot be read as an image")
    found = detect(session, about, image, arguments.threshold)
    for box, score, label, mask in zip(*found, strict=True):
        corners = " ".join(f"{corner:.0f}" for corner in box)
        print(f"{about['class_names'][label]} {score:.2f}, box {corners}, {mask.sum()} pixels")
    if arguments.output and not cv2.imwrite(arguments.output, draw(image, found, about["class_names"])):
        parser.error(f"'{arguments.output}' cannot be written")


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open an exported file, and read what it says about itself: class names, size of the input and so on."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    return session, {key: json.loads(value) for key, value in texts.items()}


def detect(session: onnxruntime.InferenceSession, about: dict[str, Any], image: np.ndarray, score: float) -> Objects:
    """Find the objects of an image, uint8 [H, W, 3] BGR as OpenCV reads it, with a higher score than `score`."""
    inputs, shape = about["image_size"], image.shape[:2]
    is_padded = about["resize"] == "pad"
    (height, width), (h, w) = shape, window(inputs, shape) if is_padded else inputs
    prepared = np.full((*inputs, 3), FILL, np.uint8)
    prepared[:h, :w] = cv2.cvtColor(cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    names = ["boxes", "scores", "labels", "masks", "counts"]
    *outputs, counts = session.run(names, {"images": prepared[None]})
    boxes, scores, labels, masks = (output[0, : counts[0]] for output in outputs)
    kept = scores > score
    if is_padded:  # nothing is there beyond the image
        kept &= ((boxes[:, :2] + boxes[:, 2:]) / 2 < (w, h)).all(1)
        masks = masks[:, : masks.shape[1] * h // inputs[0], : masks.shape[2] * w // inputs[1]]
    sides = np.array([width, height, width, height], np.float32)
    boxes = (boxes[kept] * sides / np.array([w, h, w, h], np.float32)).clip(0, sides)
    pasted = [paste(mask, box, shape, about) for mask, box in zip(masks[kept], boxes, strict=True)]
    return Objects(boxes, scores[kept], labels[kept], np.array(pasted, bool).reshape(-1, height, width))


def window(inputs: list[int], shape: tuple[int, ...]) -> list[int]:
    """Return height and width of the part of a padded input, from its top left corner, that an image fills."""
    scale = min(side / length for side, length in zip(inputs, shape, strict=True))
    return [min(max(4 * round(length * scale / 4), 4), side) for side, length in zip(inputs, shape, strict=True)]


def paste(mask: np.ndarray, box: np.ndarray, shape: tuple[int, ...], about: dict[str, Any]) -> np.ndarray:
    """Turn a small mask, of probabilities or logits as the file says, into one of the image, bool [H, W]."""
    large = cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) > about["mask_threshold"]
    if about["crop"] == "after_resize":  # otherwise the small mask is cropped, or is not to be
        x1, y1, x2, y2 = box
        rows, columns = np.arange(shape[0])[:, None] + 0.5, np.arange(shape[1]) + 0.5
        large &= (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
    return large


def draw(image: np.ndarray, found: Objects, class_names: list[str]) -> np.ndarray:
    """Return a copy of the image with everything drawn, the best on top."""
    canvas = image.copy()
    for box, score, label, mask in reversed(list(zip(*found, strict=True))):
        colour = np.random.default_rng(label).integers(60, 256, 3).tolist()
        canvas[mask] = (0.5 * canvas[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        x1, y1, x2, y2 = box.round().astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
        place = (x1 + 3, max(y1 + 14, 14))
        cv2.putText(canvas, f"{class_names[label]} {score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour)
    return canvas


if __name__ == "__main__":
    main()
