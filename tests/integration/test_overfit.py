"""Learning at all, on real photographs: a small network learns eight images by heart. Run by `-m long`."""

import json

import pytest
import yaml

from tests.integration.conftest import lines, train

OWN = {
    "name": "overfit",
    "model": {
        "image_size": 320,
        "backbone": {"name": "resnet18"},
        "anchors": {"scales": [[24, 30, 38], [48, 60, 76], [96, 121, 152], [192, 242, 305], [256, 288, 320]]},
        "fpn_channels": 128,
        "protonet_channels": 64,
    },
    "train": {
        "max_steps": 160,
        "batch_size": 8,
        "reference_batch_size": None,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_steps": 50,
        "clip_norm": 10.0,
        "freeze_batch_norm": "never",
        "backbone_weights": "none",
        "precision": "auto",
        "save_every": 1000,
        "eval_every": None,
    },
    "eval": {"num_workers": 0},
}
PLAIN = {"photometric": False, "crop": False, "expand_probability": 0.0, "mirror_probability": 0.0}


def eight_images(annotation_file):
    """Return the annotations of the first eight images without crowds whose every object is a tenth of them wide.

    Prototypes have a quarter of the input's resolution: for objects of a few pixels even perfect ones score far less.
    """
    content = json.loads(annotation_file.read_text())
    objects = {
        image["id"]: [a for a in content["annotations"] if a["image_id"] == image["id"]] for image in content["images"]
    }

    def is_large(image):
        side = max(image["width"], image["height"])
        sizes = [(a["bbox"][2] * a["bbox"][3]) ** 0.5 / side for a in objects[image["id"]] if not a["iscrowd"]]
        return sizes and len(sizes) == len(objects[image["id"]]) and min(sizes) >= 0.1

    content["images"] = [image for image in content["images"] if is_large(image)][:8]
    content["annotations"] = [a for image in content["images"] for a in objects[image["id"]]]
    return content


@pytest.mark.long
def test_eight_photographs_are_learnt_by_heart(shared, tmp_path):
    annotations = tmp_path / "eight.json"
    annotations.write_text(json.dumps(eight_images(shared / "coco_tiny/annotations/instances_train2017.json")))
    images = str(shared / "coco_tiny/train2017")
    data = {
        "train_images": images,
        "train_annotations": str(annotations),
        "val_images": images,
        "val_annotations": str(annotations),
        "num_workers": 0,
        "augment": PLAIN,
    }
    config = tmp_path / "overfit.yaml"
    config.write_text(yaml.safe_dump({**OWN, "data": data}))
    assert train("--config", config, "--runs", tmp_path, "--name", "eight") == 0
    *_, last = (line["evaluation"] for line in lines(tmp_path / "overfit/eight") if "evaluation" in line)
    print(f"mask AP on the eight images: {last['segm']['AP']:.3f}")
    assert last["segm"]["AP"] >= 0.75
