"""A calibration as a page and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sentstream.markup import printable, tag
from sentstream.report.page import Section, columns, figure, file_table, render_page, section, table, tiles
from sentstream.report.words import Data, Facts, count, evaluation_rows, percent
from sentstream_train.report.charts import reliability
from sentstream_train.report.evaluation_rows import recalibration_rows

#: Column names of the table of files.
FILE_HEAD = ("file", "rows", "temperature", "calibration error", "log loss")


def calibration_page(data: Data) -> str:
    """The page as one self-contained HTML file.

    Args:
        data: The output of ``sentstream calibrate --json``.
    """
    before, after = data["before"], data["after"]
    files = data.get("files", ())
    rest = "" if files else ": each row at the others' temperature"
    shown = [(name, new, f"before: {old}") for name, old, new in recalibration_rows(before, after)]
    return render_page(
        f"{data['model']['name']}: calibrated",
        f"Its logits are divided by one temperature, fitted to {count(data['n'])} labeled rows"
        f"{f' of {len(files)} files, each of which counts the same' if files else ''}; no label changes.",
        tiles([("temperature", f"{data['temperature']:.4f}", _sure(data["temperature"])), *shown]),
        section(
            "Model and rows", columns(table((), _facts(data), (1,)), table((), evaluation_rows(data["rows"])))
        ),
        section("Files", file_table(data["data"])),
        *([_each_file(files)] if files else []),
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
                    f"After, {data['after_is']}{rest}.",
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
    """The tables that ``sentstream calibrate`` prints.

    Args:
        data: The calibration as JSON-ready data.
    """
    files = data.get("files", ())
    found: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = [
        ((), evaluation_rows(data["rows"])),
        *([(FILE_HEAD, file_rows(files))] if files else []),
        (("", "before", "after"), recalibration_rows(data["before"], data["after"])),
    ]
    for head, rows in found:
        made = Table(*head, show_header=bool(head), box=None, pad_edge=False)
        for row in rows:
            made.add_row(*(Text(printable(cell)) for cell in row))
        made.columns[0].overflow = "fold"
        for column in made.columns[1:]:
            column.justify = "right"
        yield made
        yield Text()
    yield Text(
        f"temperature: {data['temperature']:.4f} ({_sure(data['temperature'])}); after: {data['after_is']}"
    )


def file_rows(files: Sequence[Data]) -> list[tuple[str, ...]]:
    """The table rows of several files, with the columns of ``FILE_HEAD``."""
    return [
        (
            one["name"],
            count(one["n"]),
            f"{one['temperature']:.4f}",
            f"{100 * one['before']['ece']:.2f} → {percent(one['after']['ece'])}",
            f"{one['before']['log_loss']:.4f} → {one['after']['log_loss']:.4f}",
        )
        for one in files
    ]


def _each_file(files: Sequence[Data]) -> Section:
    note = (
        "A file's temperature is the one that the other files give, and its figures are those before and with"
        " it: what to expect of rows that had no say. Those at the top are the means."
    )
    rows = file_rows(files)
    return section(
        "Each file at the temperature of the others",
        table(FILE_HEAD, rows),
        tag("p", note, class_="note"),
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
    """What a fitted temperature says about the model's confidence."""
    return "it was too sure" if temperature > 1 else "it was not sure enough"
