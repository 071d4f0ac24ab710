"""What the metrics of an evaluation mean, and how they are written for people."""

KINDS = {"segm": "masks", "bbox": "boxes"}

METRICS = {
    "AP": "mean over IoU 0.50, 0.55, ... 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "small objects, below 32 x 32 pixels",
    "APm": "medium objects",
    "APl": "large objects, from 96 x 96 pixels",
    "AR1": "recall with 1 detection of an image",
    "AR10": "recall with 10 detections",
    "AR100": "recall with 100 detections",
    "ARs": "recall of small objects",
    "ARm": "recall of medium objects",
    "ARl": "recall of large objects",
}

ERRORS = {
    "class": "IoU 0.5 or more with an object of another class",
    "localisation": "IoU 0.1 to 0.5 with an object of the right class",
    "both": "IoU 0.1 to 0.5 with an object of another class",
    "duplicate": "on an object that a better detection has found",
    "background": "IoU below 0.1 with every object",
    "missed": "objects that no corrected detection would find",
}


def decimals(value: float | None) -> str:
    """Return a metric in [0, 1] with three digits, "-" where it is not defined."""
    return "-" if value is None else f"{value:.3f}"
