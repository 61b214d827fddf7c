"""Sections of an evaluation's page: slices, coverage, the worst errors, comparisons of models."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.markup import Html, tag
from sentstream.report.charts import whisker
from sentstream.report.page import Section, columns, figure, section, table
from sentstream.report.words import Data, percent
from sentstream_train.report.charts import coverage_curve
from sentstream_train.report.evaluation.rows import (
    COVERAGE_HEAD,
    FEW_ROWS,
    SLICE_HEAD,
    coverage_rows,
    coverage_words,
    error_table,
    error_words,
    model_name,
    one_sided_rows,
    row_list,
    slice_groups,
    slice_row,
    versus_rows,
    versus_words,
)


def slice_section(data: Data) -> Section:
    """The figures of each slice, with its interval and the accuracy of all rows in a chart."""
    slices, accuracy = data["slices"], data["metrics"]["accuracy"]
    # The intervals of small slices are so wide that all others would shrink to dots.
    wide = [one for one in slices if one["rows"] >= FEW_ROWS] or slices
    low = max(0.0, int(min(accuracy, *(one["interval"][0] for one in wide)) * 20) / 20)
    high = min(1.0, (int(max(accuracy, *(one["interval"][1] for one in wide)) * 20) + 1) / 20)
    scale = f"{percent(low, 0)} to {percent(high, 0)}"
    head = ("accuracy", scale, *SLICE_HEAD[2:])
    parts = []
    for group, found in slice_groups(slices).items():
        rows = [_slice_row(one, accuracy, (low, high)) for one in found]
        parts += [tag("h3", group), table(("", "rows", *head), rows)]
    return section(
        "Metrics by slice",
        tag(
            "p",
            f"Bars: 95 % interval of the accuracy; an arrow means that it extends beyond the scale;"
            f" dashed: all rows ({percent(accuracy)})."
            f" Pale: fewer than {FEW_ROWS} rows. A row may be in several slices.",
            class_="note",
        ),
        tag("div", *parts, class_="slices"),
    )


def _slice_row(one: Data, accuracy: float, scale: tuple[float, float]) -> tuple[str, ...]:
    name, rows, share, *rest = slice_row(one)
    kind = "few" if one["rows"] < FEW_ROWS else None
    chart = whisker(one["accuracy"], one["interval"], scale, accuracy)
    cells = [tag("td", cell, class_=kind) for cell in (name, rows, share)]
    return (
        *cells,
        tag("td", chart, class_=f"range {kind or ''}".strip()),
        *(_td(cell, kind) for cell in rest),
    )


def _td(cell: str, kind: str | None) -> Html:
    return tag("td", cell, class_=kind)


def coverage_section(coverage: Data) -> Section:
    """The accuracy if the model abstains on uncertain rows."""
    # The chart shows the intervals.
    shown = [index for index, name in enumerate(COVERAGE_HEAD) if name != "95 % interval"]
    rows = [[row[index] for index in shown] for row in coverage_rows(coverage)]
    return section(
        "Abstaining on low scores",
        columns(
            figure(
                coverage_curve(coverage["points"]),
                "Accuracy (line; 95 % interval shaded) and macro-recall (dotted) of the rows kept, those with"
                " the highest scores.",
            ),
            tag(
                "div",
                table([COVERAGE_HEAD[index] for index in shown], rows),
                tag("p", coverage_words(coverage), class_="note"),
            ),
        ),
    )


def error_section(data: Data) -> Section:
    """The most confident errors of the model."""
    return section(
        "Worst errors",
        _error_table(data["worst"]),
        tag("p", error_words(data["worst"], data["metrics"]), class_="note"),
    )


def _error_table(worst: Sequence[Data]) -> Html:
    head, rows = error_table(worst)
    texts = ("label", "predicted", "text")
    return table(head, rows, [index for index, name in enumerate(head) if name in texts])


def versus_section(comparisons: Sequence[Data], name: str) -> Section:
    """Comparisons of the model with others on the same rows.

    Args:
        comparisons: One per other model.
        name: The name of the judged model.
    """
    parts = []
    for versus in comparisons:
        both = versus["comparison"]
        ends = (both["interval"], versus["macro_recall_interval"])
        leads = (both["difference"], versus["macro_recall_difference"])
        maximum = max(0.001, *(abs(end) for pair in ends for end in pair))
        scale = f"{-100 * maximum:+.1f} to {100 * maximum:+.1f} %"
        rows = [
            (*words, tag("td", whisker(lead, end, (-maximum, maximum), 0.0), class_="range"))
            for words, lead, end in zip(versus_rows(versus), leads, ends, strict=True)
        ]
        parts += [
            tag("h3", f"Against {model_name(versus['model'])}"),
            tag("p", versus_words(versus, name)),
            table(("", "the model", "the other", "difference", "95 % interval", scale), rows),
        ]
        for words, figures in one_sided_rows(versus, name):
            if any("text" in row for row in figures):
                parts += [tag("p", f"{words}:"), _error_table(figures)]
            else:
                parts.append(tag("p", f"{words}: {row_list(figures)}."))
    return section("Against other models", *parts)
