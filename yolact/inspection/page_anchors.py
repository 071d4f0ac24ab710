"""The part of the page about anchors and about masks at the resolution of the prototypes."""

from collections.abc import Sequence

from yolact.inspection.anchors import Option, as_override
from yolact.inspection.check import Report
from yolact.inspection.fit import LONG, SMALL, AnchorFit
from yolact.pages.charts import Series, bar_chart
from yolact.pages.markup import table, text
from yolact.pages.style import BLUE, GREY, ORANGE
from yolact.text import counted, percent


def anchor_section(report: Report) -> str:
    """Return the section."""
    fit = report.anchors
    if fit is None:
        return "<section><h2>Anchors</h2><p>There are no objects to measure anchors on.</p></section>"
    meets = (
        f"With the anchors of <b>{text(report.config.name)}</b>, <b>{percent(fit.now.recall)}</b> of the "
        f"{fit.objects:,} objects of {text(report.sets[0].name)} meet an anchor at an IoU of {fit.threshold:g} or more "
        f"once pictures are stretched to {fit.now.image_size} pixels; {percent(fit.only_forced)} get one by force: "
        "their single, badly placed example teaches little. This is before augmentation, which enlarges and shrinks."
    )
    charts = f'<div class="columns"><figure>{_recall_chart(fit)}</figure><figure>{_size_chart(fit)}</figure></div>'
    return (
        f"<section><h2>Anchors</h2><p>{meets}</p>{_suggestion(fit)}{charts}{_option_table(fit)}"
        f"<p>{_missed(fit)}</p><p>{_vanishing(report)}</p></section>"
    )


def _suggestion(fit: AnchorFit) -> str:
    what = "No sizes were found" if fit.better_upright is None else "While they are square, no sizes were found"
    parts = [f"<p>{what} that notably more objects meet: keep these.</p>"]
    if fit.suggestion is not None:
        values = as_override(fit.suggestion.anchors)
        parts = [
            f'<div class="suggestion"><p>Suggested: {_sizes(fit.suggestion)} a level, which '
            f"<b>{percent(fit.suggestion.recall)}</b> of the objects meet.</p>"
            f"<pre>model:\n  anchors:\n    scales: {values}</pre><p>or on the command line</p>"
            f"<pre>--set 'model.anchors.scales={values.replace(' ', '')}'</pre></div>"
        ]
    if fit.better_upright is not None:
        parts.append(
            '<div class="suggestion"><p>Unless you start from the published weights, which need square anchors: not '
            f"square, {_sizes(fit.better_upright)} a level, which <b>{percent(fit.better_upright.recall)}</b> of the "
            "objects meet.</p><pre>model:\n  anchors:\n    square: false\n    scales: "
            f"{as_override(fit.better_upright.anchors)}</pre></div>"
        )
    return "".join(parts)


def _sizes(option: Option) -> str:
    return counted(len(option.anchors.scales[0]), "size")


def _recall_chart(fit: AnchorFit) -> str:
    bars = [_shares("now", [one.recall for one in fit.sizes], BLUE if fit.suggestion is None else GREY)]
    if fit.suggestion is not None:
        bars.append(_shares("suggested", [one.suggested_recall for one in fit.sizes], BLUE))
    names = [one.name for one in fit.sizes]
    return bar_chart(names, bars, "percent that meet an anchor, by object size in pixels of the input", most=1)


def _shares(name: str, values: Sequence[float | None], colour: str) -> Series:
    labels = ["" if value is None else f"{100 * value:.0f}" for value in values]
    return Series(name, [value or 0.0 for value in values], colour, labels)


def _size_chart(fit: AnchorFit) -> str:
    counts = [one.objects for one in fit.sizes]
    bars = [Series("objects", counts, ORANGE, [f"{count:,}" for count in counts])]
    return bar_chart([one.name for one in fit.sizes], bars, "objects, by size in pixels of the input")


def _option_table(fit: AnchorFit) -> str:
    rows = [("now", fit.now)]
    rows += [(f"{_sizes(option)} a level", option) for option in fit.options]
    rows += [(f"not square, {_sizes(option)}", option) for option in [fit.upright] if option is not None]
    rows += [(f"larger input, {_sizes(option)}", option) for option in fit.larger]
    cells = (
        (
            (name + (" (suggested)" if option is fit.suggestion else "")).replace(" ", "&nbsp;"),
            str(option.image_size),
            f"<b>{percent(option.recall)}</b>",
            f"{option.num_anchors:,}",
            f"<code>{as_override(option.anchors)}</code>",
        )
        for name, option in rows
    )
    note = "<p>A larger input costs time and memory in proportion to its area.</p>" if fit.larger else ""
    return table(("anchors", "model.image_size", "met", "number", "model.anchors.scales"), cells) + note


def _missed(fit: AnchorFit) -> str:
    which = "present" if fit.suggestion is None else "suggested"
    return (
        f"What the {which} anchors miss: {percent(fit.missed_small)} of all objects are smaller than {SMALL:g} pixels "
        f"and missed (a larger <code>model.image_size</code> helps), {percent(fit.missed_long)} are more than "
        f"{LONG:g} times as long as wide and missed (<code>model.anchors.aspect_ratios</code>)."
    )


def _vanishing(report: Report) -> str:
    masks = report.vanishing
    share = masks.vanished / max(masks.objects, 1)
    sample = "" if masks.objects == report.summaries[0]["objects"] else " (a random sample)"
    return (
        f"<b>{masks.vanished:,}</b> of {masks.objects:,} masks{sample}, {percent(share)}, have no pixel left at the "
        f"resolution of the prototypes, {masks.side} &times; {masks.side}: such an object is taught to have no mask."
    )
