"""What the figures of an evaluation mean, and how they are written."""

KINDS = {"segm": "masks", "bbox": "boxes"}

EXPLAINED = {
    "AP": "mean over IoU 0.50, 0.55, ... 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "small objects, below 32 x 32 pixels",
    "APm": "medium objects",
    "APl": "large objects, from 96 x 96 pixels",
    "AR1": "recall with 1 detection of a picture",
    "AR10": "recall with 10 detections",
    "AR100": "recall with {most} detections",
    "ARs": "recall of small objects",
    "ARm": "recall of medium objects",
    "ARl": "recall of large objects",
}

ERRORS_EXPLAINED = {
    "class": "well placed on an object of another class: IoU 0.5 or more",
    "localisation": "of the right class, badly placed: IoU 0.1 to 0.5",
    "both": "badly placed, on an object of another class",
    "duplicate": "on an object that a better detection has found",
    "background": "on nothing: IoU below 0.1 with every object",
    "missed": "an object that no detection comes near enough to find, were its class or place mended",
}


def figure(value: float | None) -> str:
    """Return a figure in [0, 1] with three digits, "-" where it is not defined."""
    return "-" if value is None else f"{value:.3f}"


def explained(key: str, max_detections: int) -> str:
    """Return what one of COCO's figures is; `max_detections` were allowed for a picture."""
    return EXPLAINED[key].format(most=max(100, max_detections))
