"""Fetch published weights, or convert checkpoints of the authors' code (dbolya/yolact) into ours and back.

yolact weights --list
yolact weights yolact_base yolact_plus_base
yolact weights --all --output /data/weights
yolact weights --convert weights/yolact_base_54_800000.pth weights/yolact_base.pth
yolact weights --convert runs/custom/first/best.pth path/of/their/weights/

Nothing needs to be converted to be used here: every command takes the authors' files as they are. Fetching needs
huggingface_hub; the environment variable HF_ENDPOINT names a mirror of the Hugging Face Hub.
"""

import argparse
import sys
from pathlib import Path

from yolact.cli.arguments import add_set
from yolact.errors import DownloadError, UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="*", help="such as yolact_base or resnet101; --list shows all")
    parser.add_argument("--all", action="store_true", help="all models and backbones")
    parser.add_argument("--list", action="store_true", help="show the names, and what is there; needs no network")
    parser.add_argument("--output", type=Path, default=Path("weights"), help="folder (default: weights)")
    group = parser.add_argument_group("converting")
    group.add_argument("--convert", nargs=2, metavar=("IN", "OUT"), help="OUT may be a folder, for the usual name")
    group.add_argument("--to", choices=("ours", "authors"), help="default: the form that IN does not have")
    group.add_argument("--config", metavar="FILE", help="a name or YAML file; default: the one in IN, or recognised")
    add_set(group, "e.g. model.num_classes=4")


def run(arguments: argparse.Namespace) -> None:
    if bool(arguments.name) + arguments.all + arguments.list + bool(arguments.convert) != 1:
        raise UserError("Expected either names, or --all, or --list, or --convert IN OUT; see yolact weights --help.")
    if arguments.convert:
        from yolact.tools.conversion import convert_checkpoint

        source, target = arguments.convert
        print("\n".join(convert_checkpoint(source, target, arguments.to, arguments.config, arguments.set)))
        return
    if arguments.to or arguments.config or arguments.set:
        raise UserError("--to, --config and --set belong to --convert IN OUT; leave them out.")
    from yolact.tools import weights

    names = list(weights.FILES) if arguments.all else list(dict.fromkeys(arguments.name))
    for name in names:
        weights.require_known(name)
    failed = []
    for name in names:
        try:
            print(f"{name}: {weights.fetch_weights(name, arguments.output)}", flush=True)
        except DownloadError as error:
            if len(names) == 1:
                raise
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} could not be fetched: {', '.join(failed)}; see above why.")
    if arguments.list:
        for name, (title, file_name, _) in weights.FILES.items():
            path = arguments.output / file_name
            there = f"in {arguments.output}, {path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
            print(f"{name:20}  {title:32}  {file_name:36}  {there}".rstrip())
        for name, reason in weights.UNPUBLISHED.items():
            print(f"{name}: {reason}")
