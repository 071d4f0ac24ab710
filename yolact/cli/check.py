"""Check a data set before training on it: faults, statistics, and whether the anchors fit the objects.

yolact check --config configs/custom.yaml
yolact check --annotations instances.json --images images --output checked
yolact check --annotations instances.json --images images --write-config mine.yaml    # to begin with
yolact check --annotations instances.json --images images --fix clean.json
yolact check --config configs/custom.yaml --weights runs/custom/first/best.pth    # and the labels that it contradicts

Writes index.html, to look at, and check.json, for programs; with --fix also fixed.json, which lists what was mended and
left out. Exit code 1: training would refuse the data or stop on them; 0: it would not, there may be warnings; 2: there
was nothing to check.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolact.cli.arguments import add_set, data_set_for
from yolact.errors import UserError
from yolact.text import counted

if TYPE_CHECKING:
    from yolact.config import Config, DataConfig
    from yolact.tools.inspect.inspection import Report
    from yolact.tools.report.odd_labels import DrawnLabel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--config", metavar="FILE", help="checks its training and validation set, and its anchors")
    add_set(parser, "such as model.image_size=700")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="a COCO file to check by itself")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images of --annotations")
    text = "write a configuration to begin with, of the size and shape that fit; with the validation set beside, if any"
    parser.add_argument("--write-config", type=Path, metavar="FILE.yaml", help=text)
    text = "write the annotations of --annotations anew: mended, and without what is certainly broken, which is listed"
    parser.add_argument("--fix", type=Path, metavar="OUT.json", help=text)
    text = "with --fix: take the mark iscrowd off all objects; CVAT gives it to each mask"
    parser.add_argument("--crowds-are-objects", action="store_true", help=text)
    text = (
        "a model trained on such data: the page shows the labels that it contradicts most, odd_labels_*.json lists them"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help=text)
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: runs/check/ and the configuration's name")


def run(arguments: argparse.Namespace) -> int:
    """Check, write both files and print the summary; returns 1 where an error was found, else 0."""
    alone = arguments.annotations is not None
    if alone != (arguments.images is not None) or not (alone or arguments.config):
        raise UserError("There is nothing to check; give --config FILE, or both --annotations FILE and --images DIR.")

    from yolact.config import Config, load_config, override_config
    from yolact.data.samples import Colours
    from yolact.output import output_folder, write_bytes, write_json
    from yolact.tools.inspect.fixing import fix
    from yolact.tools.inspect.inspection import inspect, sources_of
    from yolact.tools.inspect.page import render_page
    from yolact.tools.inspect.reading import Source
    from yolact.tools.inspect.starting_config import starting_config

    if arguments.fix and (not alone or arguments.fix.exists()):
        raise UserError("--fix takes the name of a new file, and needs --annotations and --images; correct them.")
    if arguments.crowds_are_objects and not arguments.fix:
        raise UserError("--crowds-are-objects says what --fix OUT.json writes; give both.")
    target = arguments.write_config
    if target is not None and (target.exists() or target.suffix != ".yaml"):
        raise UserError(f"--write-config takes the name of a new .yaml file, got '{target}'; give another one.")
    config = override_config(load_config(arguments.config) if arguments.config else Config(), arguments.set)
    sources = sources_of(config)
    if alone:
        in_tiles, colours = config.data.tiles is not None, Colours.of(config)
        sources = [Source("data", arguments.annotations, arguments.images, in_tiles=in_tiles, colours=colours)]
    name = arguments.annotations.stem if alone else config.name
    with output_folder(arguments.output or Path("runs/check") / name) as output:
        report = inspect(sources, config)
        odd = _odd_labels(arguments.weights, report, output) if arguments.weights else {}
        write_bytes(render_page(report, odd).encode(), output / "index.html")
        write_json(report.content, output / "check.json", indent=1)
    print("\n".join(summary_lines(report)) + f": see {output / 'index.html'}")
    if arguments.fix:
        fixed = fix(sources[0], report.sets[0].bad_images, arguments.crowds_are_objects)
        write_json(fixed.content, arguments.fix)
        write_json({"mended": fixed.mended, "left_out": fixed.left_out}, output / "fixed.json", indent=1)
        print(f"written {arguments.fix}", *fixed.lines(), f"all of it in {output / 'fixed.json'}", sep="\n  ")
    elif alone and report.content["errors"]:
        print("--fix OUT.json writes the annotations without what is broken, or says what only you can mend")
    if target is not None:
        text = starting_config(report.sets[0], _data_of(arguments, config), target.stem)
        write_bytes(text.encode(), target, "--write-config")
        print(f"written {target}: train with `yolact train --config {target}`")
    return int(report.content["errors"] > 0)


def _odd_labels(weights: Path, report: "Report", output: Path) -> "dict[str, list[DrawnLabel]]":
    """List the labels of each set that a model contradicts most in odd_labels_*.json; return the drawn ones."""
    from yolact.api import evaluate
    from yolact.loaded import load_weights
    from yolact.predictor import Predictor
    from yolact.tools.report.evaluation_page import Analysis
    from yolact.tools.report.odd_labels import DRAWN, draw_odd_labels, write_odd_labels

    if report.content["errors"]:
        print("odd labels are looked for where there are no errors: mend these first, or give --fix OUT.json")
        return {}
    predictor, drawn = Predictor(load_weights(weights)), {}
    for source in (one.source for one in report.sets):
        files = source.annotation_file, source.image_folder
        dataset = data_set_for(predictor, weights, *files, source.max_images, source.in_tiles)
        analysis = Analysis.of(dataset, evaluate(predictor, dataset))
        odd, file_name = analysis.odd_labels, f"odd_labels_{source.name}.json"
        write_odd_labels(output / file_name, odd, dataset)
        print(f"{source.name}: {counted(len(odd), 'odd label')}: see {file_name} and the page")
        drawn[source.name] = draw_odd_labels(odd[:DRAWN], dataset, analysis.records)
    return drawn


def _data_of(arguments: argparse.Namespace, config: "Config") -> "DataConfig":
    """Return where the data lie.

    With a set that is checked alone goes the validation set beside it, as `yolact convert` lays them out; without one
    it stands for both.
    """
    if arguments.annotations is None:
        return config.data
    images, annotations = arguments.images, arguments.annotations
    val_images = images.with_name(images.name.replace("train", "val"))
    val_annotations = annotations.with_name(annotations.name.replace("train", "val"))
    if not (val_images.is_dir() and val_annotations.is_file()):
        val_images, val_annotations = images, annotations
    print(f"to validate on: {val_annotations}" + ", as there is no other set" * (val_annotations == annotations))
    return replace(
        config.data, train_images=str(images), train_annotations=str(annotations), val_images=str(val_images),
        val_annotations=str(val_annotations),
    )  # fmt: skip


def summary_lines(report: "Report") -> list[str]:
    """Return the report in a few lines: sets, findings (errors first), anchors and masks, verdict."""
    from yolact.tools.inspect.inspection import fit_lines, verdict

    lines = []
    for name, one in report.content["sets"].items():
        counts = f"{counted(one['pictures'], 'image')}, {counted(one['objects'], 'object')}"
        lines.append(f"{name}: {counts}, {counted(one['classes'], 'class', 'classes')} ({one['annotation_file']})")
    for finding in report.findings:
        first = finding.examples[0]
        where = (first.picture or "") + ("" if first.annotation is None else f", annotation {first.annotation}")
        what = f"{finding.title}: {finding.count:,}, such as {where.removeprefix(', ') or first.note}"
        range_text = f" ({first.note})" if finding.kind == "deep-samples" else ""
        if finding.kind == "other-bands":
            bands = report.content["sets"][finding.set]["bands"].items()
            range_text = f" ({', '.join(f'{number:,} of {count}' for count, number in bands)} bands)"
        lines.append(f"  {finding.level:8}{finding.set:6}{what}{range_text}")
    return [*lines, *fit_lines(report.content), verdict(report.content)]
