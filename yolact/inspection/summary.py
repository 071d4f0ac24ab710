"""The report in a few lines for the terminal."""

from typing import Any

from yolact.inspection.anchors import Option, as_override
from yolact.inspection.check import Report
from yolact.inspection.findings import Finding
from yolact.inspection.fit import AnchorFit
from yolact.text import counted, percent


def summary_lines(report: Report) -> list[str]:
    """Return what was found, the errors first, and how the anchors fit."""
    names = [inspected.name for inspected in report.sets]
    lines = [_set_line(name, counts) for name, counts in zip(names, report.summaries, strict=True)]
    lines += [_finding_line(finding) for finding in report.findings] or ["no faults were found"]
    if report.anchors is not None:
        lines += _anchor_lines(report.anchors)
    masks = report.vanishing
    if masks.vanished:
        lines.append(
            f"masks: {masks.vanished:,} of {masks.objects:,} have no pixel left at the {masks.side} x {masks.side} of "
            "the prototypes"
        )
    return lines


def closing_line(report: Report) -> str:
    """Return the verdict."""
    errors, warnings = report.num_errors, len(report.findings) - report.num_errors
    return f"{_kinds(errors, 'error')}, {_kinds(warnings, 'warning')}"


def _kinds(count: int, what: str) -> str:
    return counted(count, f"kind of {what}", f"kinds of {what}s") if count else f"no {what}s"


def _set_line(name: str, counts: dict[str, Any]) -> str:
    return (
        f"{name}: {counted(counts['pictures'], 'picture')}, {counted(counts['objects'], 'object')}, "
        f"{counted(counts['classes'], 'class', 'classes')} ({counts['annotation_file']})"
    )


def _finding_line(finding: Finding) -> str:
    example = finding.examples[0]
    annotation = "" if example.annotation is None else f"annotation {example.annotation}"
    where = ", ".join(part for part in (example.picture, annotation) if part) or example.note
    return f"  {finding.level:8}{finding.set_name:6}{finding.kind.title}: {finding.count:,}, such as {where}"


def _anchor_lines(fit: AnchorFit) -> list[str]:
    lines = [
        f"anchors: {percent(fit.now.recall)} of {counted(fit.objects, 'object')} meet one at IoU {fit.threshold:g}, "
        f"{percent(fit.only_forced)} get one by force only"
    ]
    if fit.suggestion is not None:
        lines.append(f"  {percent(fit.suggestion.recall)} with --set {_quoted(fit.suggestion)}")
    if fit.better_upright is not None:
        lines.append(
            f"  {percent(fit.better_upright.recall)}, unless you start from published weights, with "
            f"--set model.anchors.square=false {_quoted(fit.better_upright)}"
        )
    return lines


def _quoted(option: Option) -> str:
    """Return the sizes as an argument of --set that a shell leaves as it is."""
    return f"'model.anchors.scales={as_override(option.anchors).replace(' ', '')}'"
