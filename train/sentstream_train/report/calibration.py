"""A calibration as a page and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sentstream.markup import printable, tag
from sentstream.report.page import columns, figure, file_table, render_page, section, table, tiles
from sentstream.report.words import Data, Facts, count, evaluation_rows
from sentstream_train.report.charts import reliability
from sentstream_train.report.evaluation_rows import recalibration_rows


def calibration_page(data: Data) -> str:
    """A page that stands alone.

    Args:
        data: What ``sentstream calibrate --json`` prints.
    """
    before, after = data["before"], data["after"]
    shown = [(name, new, f"before: {old}") for name, old, new in recalibration_rows(before, after)]
    return render_page(
        f"{data['model']['name']}: calibrated",
        f"Its logits are divided by one temperature, fitted to {count(data['n'])} labeled rows;"
        " no label changes.",
        tiles([("temperature", f"{data['temperature']:.4f}", _sure(data["temperature"])), *shown]),
        section(
            "Model and rows", columns(table((), _facts(data), (1,)), table((), evaluation_rows(data["rows"])))
        ),
        section("Files", file_table(data["data"])),
        section(
            "Does the score mean what it says?",
            columns(
                figure(
                    reliability(before["bins"]),
                    "Before: a dot on the dashed line is a group of rows whose accuracy is what the score"
                    " promised; below it the model is too sure. Larger dots are more rows.",
                ),
                figure(
                    reliability(after["bins"]),
                    f"After, {data['after_is']}: each row at the others' temperature.",
                ),
            ),
            tag(
                "p",
                "Calibration error: gap between score and accuracy over 15 bins; the temperature is fitted to"
                " the log loss (Guo et al. 2017).",
                class_="note",
            ),
        ),
        version=data["sentstream"],
    )


def calibration_tables(data: Data) -> Iterator[RenderableType]:
    """What ``sentstream calibrate`` prints.

    Args:
        data: The calibration as JSON-ready data.
    """
    for head, rows in (
        ((), evaluation_rows(data["rows"])),
        (("", "before", "after"), recalibration_rows(data["before"], data["after"])),
    ):
        made = Table(*head, show_header=bool(head), box=None, pad_edge=False)
        for row in rows:
            made.add_row(*(Text(printable(cell)) for cell in row))
        for column in made.columns[1:]:
            column.justify = "right"
        yield made
        yield Text()
    yield Text(
        f"temperature: {data['temperature']:.4f} ({_sure(data['temperature'])}); after: {data['after_is']}"
    )


def _facts(data: Data) -> Facts:
    earlier = [f"{one['temperature']:.4f}" for one in data.get("earlier", ())]
    return [
        ("model", data["model"]["name"]),
        ("digest", data["model"]["fingerprint"]),
        ("labels", ", ".join(data["labels"])),
        *([("temperatures that it already had", ", ".join(earlier))] if earlier else []),
    ]


def _sure(temperature: float) -> str:
    """What a temperature tells about the model that it was fitted to."""
    return "it was too sure" if temperature > 1 else "it was not sure enough"
