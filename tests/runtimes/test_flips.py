"""Flipped copies of an image add what is found in them, in the image's own coordinates."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import yolact
from yolact.config import EvalConfig
from yolact.errors import UserError
from yolact.postprocess import Detector
from yolact.runtimes.flips import with_flips
from yolact.structures import Detections, Predictions, Resize

SIZE = (16, 32)


class BrightestPixel:
    """A network that finds one object, a pixel around the brightest, and draws the image as its prototype."""

    name, precision, device, mask_iou, resize = "PyTorch", "fp32", torch.device("cpu"), None, Resize(SIZE)
    coder = SimpleNamespace(
        image_size=SIZE, scores=lambda logits: logits.sigmoid(), decode=lambda deltas: deltas * 2, constants={}
    )

    def __call__(self, images):
        maps = images[:, 0].float()
        place = maps.flatten(1).argmax(1)
        y, x = place // SIZE[1], place % SIZE[1]
        boxes = torch.stack([x, y, x + 1, y + 1], -1)[:, None].float()
        logits = maps[:, 0, :1, None]  # so sure as the first pixel of the image is bright
        return Predictions(logits, boxes / 2, torch.ones(len(images), 1, 1), maps[:, None] - 100, torch.empty(0))


@pytest.fixture
def image():
    image = torch.zeros(1, 3, *SIZE, dtype=torch.uint8)
    image[0, :, 4, 10] = 200
    image[0, :, 0, 31] = 1  # the first pixel of the copy that is flipped horizontally
    return image


@pytest.mark.parametrize("flips", [("horizontal",), ("vertical",), ("horizontal", "vertical")])
def test_boxes_and_masks_of_flipped_copies_come_back(image, flips):
    runtime = with_flips(BrightestPixel(), flips)
    predictions, count = runtime(image), 1 + len(flips)
    boxes = runtime.coder.decode(predictions.box_deltas)
    assert boxes.tolist() == [[[10, 4, 11, 5]] * count]
    assert predictions.mask_coefficients[0].equal(torch.eye(count))
    logits = predictions.mask_coefficients[0] @ predictions.prototypes[0].flatten(1)
    assert logits.view(count, *SIZE).equal((image[0, :1].float() - 100).expand(count, -1, -1))


def test_the_surest_copy_is_kept(image):
    settings = EvalConfig(crop="none", score_threshold=0.1)
    runtime = with_flips(BrightestPixel(), ["horizontal"])
    detector = Detector.of(runtime, settings)
    found = detector.instances(detector.detect(runtime(image)), 0, SIZE, ["a"], [1])
    assert found.scores.tolist() == [torch.tensor(1.0).sigmoid().item()]  # 0.5 without the copy
    assert found.masks[0].nonzero().tolist() == [[4, 10]]


def test_no_flips_leave_the_runtime_as_it_is():
    assert with_flips(runtime := BrightestPixel(), ()) is runtime


class Complete(BrightestPixel):
    def __call__(self, images):
        return Detections(*6 * [torch.empty(0)])


def test_what_has_its_nms_inside_is_refused(image):
    with pytest.raises(UserError, match=r"eval\.flips adds candidates before NMS, which is inside"):
        with_flips(Complete(), ["vertical"])(image)


def test_a_symmetric_image_gives_the_same_objects_with_flips(sample_checkpoint, sample_data):
    """Of an image that is its own mirror image, the flipped copy adds what is the mirror image of what was found."""
    image = cv2.imread(str(sorted((sample_data / "pictures").iterdir())[0]))
    image = np.hstack([image, image[:, ::-1]])
    flipped = yolact.load(sample_checkpoint, flips=["horizontal"], max_detections=300)(image, 0.3)
    centres = (flipped.boxes[:, 0::2].mean(1) / image.shape[1]).sort().values
    assert len(flipped) > 1
    torch.testing.assert_close(centres, (1 - centres).sort().values, atol=2e-3, rtol=0)
