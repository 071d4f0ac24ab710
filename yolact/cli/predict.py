"""Find objects in images, videos and camera streams: annotated copies and one JSON file in COCO's format.

yolact predict street.jpg --weights weights/yolact_base_54_800000.pth --output found
yolact predict images/ 'more/**/*.png' --weights runs/shapes/quickstart/best.pth --output found
yolact predict street.mp4 --weights weights/yolact_base_54_800000.pth --output found --track
yolact predict 0 --weights ...         # a camera by its number; rtsp://... or http://... for streams and images
yolact predict images/ --weights runs/custom/first/best.pth --output found --runtime openvino    # fast on a CPU
yolact predict new_images/ --weights runs/custom/first/best.pth --output found --labels labelme    # to correct them
yolact predict map.tif --weights runs/custom/first/best.pth --output found --tiles 640     # a large image, in parts

Results have the names of their images: street.jpg, masks/street_000_person.png. Images that share one are named after
their paths (a_street_jpg, b_street_jpg). outputs.jsonl says what comes from which image; --overwrite removes that.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from yolact.cli.arguments import add_model, add_score_threshold, chosen_score_threshold, count, load_chosen_predictor
from yolact.errors import UserError
from yolact.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `yolact predict`."""
    parser.add_argument(
        "source", nargs="+", help="images, folders, addresses, patterns such as 'a/**/*.png'; or one video"
    )
    add_model(parser, "eval.nms=cross_class, eval.crop=none")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for the results, without those of another run"
    )
    parser.add_argument("--overwrite", action="store_true", help="remove the results of an earlier run from it first")
    add_score_threshold(parser)
    text = "cut larger images into parts of N x N of their pixels, and join what they cut (eval.tiles)"
    parser.add_argument("--tiles", type=count, metavar="N", help=text)
    text = "only these classes, by name; may be given again, and a name with a comma in it stands for itself first"
    parser.add_argument("--classes", action="append", metavar="A,B", help=text)
    parser.add_argument("--boxes-only", action="store_true", help="draw and write no masks")
    parser.add_argument("--csv", action="store_true", help="also write predictions.csv")
    parser.add_argument("--masks", action="store_true", help="also write each mask as a PNG of the image's size")
    text = "images: also write labels to correct by hand, files of labelme or one of COCO, for CVAT and others"
    parser.add_argument("--labels", choices=("labelme", "coco"), help=text)
    parser.add_argument("--track", action="store_true", help="videos: number objects through the frames (trackers)")
    parser.add_argument("--max-frames", type=count, metavar="N", help="videos: stop after so many frames")
    parser.add_argument("--prototypes", action="store_true", help="images: also draw the prototypes")


def run(arguments: argparse.Namespace) -> None:
    """Predict; sources, classes and the model are checked before anything is written."""
    with ExitStack() as stack:
        _run(arguments, stack)


def _run(arguments: argparse.Namespace, stack: ExitStack) -> None:
    from yolact.instances import find_labels
    from yolact.output import output_folder
    from yolact.tools.addresses import ADDRESS, fetch_image
    from yolact.tools.outputs import require_free
    from yolact.tools.predict import Wanted, find_images, predict_images, predict_video
    from yolact.tools.video import Video, is_video

    if arguments.boxes_only and (arguments.masks or arguments.labels):
        raise UserError("--boxes-only writes no masks: leave it out, or --masks and --labels, which are made of them.")
    downloads = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yolact-")))
    addresses = dict.fromkeys(filter(ADDRESS.match, arguments.source))
    if addresses and arguments.labels:
        raise UserError(f"--labels lead to images where they lie: download '{printable(next(iter(addresses)))}' first.")
    fetched = {address: path for address in addresses if (path := fetch_image(address, downloads))}
    videos = [source for source in arguments.source if is_video(source) and source not in fetched]
    if videos and len(arguments.source) > 1:
        raise UserError(f"Give one video at a time, or images; got {', '.join(map(repr, arguments.source))}.")
    video = Video(videos[0]) if videos else None
    kinds = "images, not for a video" if video else "videos, not for images"
    for name in ("labels", "prototypes") if video else ("track", "max_frames"):
        if getattr(arguments, name):
            raise UserError(f"--{name.replace('_', '-')} is for {kinds}: leave it out.")
    images = [] if video else find_images(arguments.source, arguments.output, fetched)
    paths = [Path(video.source)] if video else [image.path for image in images]
    require_free(arguments.output, paths, arguments.overwrite)
    predictor = load_chosen_predictor(arguments)
    if arguments.prototypes and predictor.settings.tiles is not None:
        raise UserError(
            "--prototypes draws those of one image of the network: leave --tiles out, or set eval.tiles=null."
        )
    if arguments.classes is not None:
        find_labels(arguments.classes, predictor.class_names)
    wanted = Wanted(
        arguments.output, chosen_score_threshold(arguments, predictor), arguments.classes, arguments.boxes_only,
        arguments.csv, arguments.masks, arguments.prototypes, arguments.labels, arguments.track, arguments.max_frames,
        arguments.overwrite,
    )  # fmt: skip
    with output_folder(arguments.output):
        if video:
            predict_video(predictor, video, wanted)
        else:
            predict_images(predictor, images, wanted)
