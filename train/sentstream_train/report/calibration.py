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
from sentstream_train.report.evaluation.rows import offsets_words, recalibration_rows

#: Column names of the table of files.
FILE_HEAD = ("file", "rows", "temperature", "calibration error", "log loss")
RECALL_HEAD = (*FILE_HEAD, "macro-recall")


def calibration_page(data: Data) -> str:
    """The page as one self-contained HTML file.

    Args:
        data: The output of ``sentstream calibrate --json``.
    """
    before, after = data["before"], data["after"]
    files = data.get("files", ())
    rest = "" if files else ": each row uses a temperature fitted to other rows"
    shown = [(name, new, f"before: {old}") for name, old, new in recalibration_rows(before, after)]
    return render_page(
        f"Calibration of {data['model']['name']}",
        f"The logits are divided by one temperature{offsets_words(data)}, fitted to"
        f" {count(data['n'])} labeled rows{f' of {len(files)} files, weighted equally' if files else ''}"
        f"{'' if 'offsets' in data else '; labels do not change'}.",
        tiles([("temperature", f"{data['temperature']:.4f}", _confidence_note(data["temperature"])), *shown]),
        section(
            "Model and rows", columns(table((), _facts(data), (1,)), table((), evaluation_rows(data["rows"])))
        ),
        section("Files", file_table(data["data"])),
        *([_each_file(files)] if files else []),
        section(
            "Calibration",
            columns(
                figure(
                    reliability(before["bins"]),
                    "Before: each dot is a group of rows, larger for more rows. On the dashed line, accuracy"
                    " equals the score; below it, the model is overconfident.",
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
    tables: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = [
        ((), evaluation_rows(data["rows"])),
        *([(file_head(files), file_rows(files))] if files else []),
        (("", "before", "after"), recalibration_rows(data["before"], data["after"])),
    ]
    for head, rows in tables:
        table = Table(*head, show_header=bool(head), box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        table.columns[0].overflow = "fold"
        for column in table.columns[1:]:
            column.justify = "right"
        yield table
        yield Text()
    yield Text(
        f"temperature: {data['temperature']:.4f} ({_confidence_note(data['temperature'])})"
        f"{offsets_words(data)}; "
        f"after: {data['after_is']}"
    )


def file_head(files: Sequence[Data]) -> tuple[str, ...]:
    """The column names of the table of files."""
    return RECALL_HEAD if "macro_recall" in files[0]["after"] else FILE_HEAD


def file_rows(files: Sequence[Data]) -> list[tuple[str, ...]]:
    """The table rows of several files, with the columns of ``file_head``."""
    return [
        (
            one["name"],
            count(one["n"]),
            f"{one['temperature']:.4f}",
            f"{100 * one['before']['ece']:.2f} → {percent(one['after']['ece'])}",
            f"{one['before']['log_loss']:.4f} → {one['after']['log_loss']:.4f}",
            *(
                [f"{100 * one['before']['macro_recall']:.1f} → {percent(one['after']['macro_recall'])}"]
                if "macro_recall" in one["after"]
                else []
            ),
        )
        for one in files
    ]


def _each_file(files: Sequence[Data]) -> Section:
    note = (
        "Each file's temperature is fitted to the other files, and its figures are before and after applying"
        " it: what to expect on rows outside the fit. The figures at the top are the means."
    )
    rows = file_rows(files)
    return section(
        "Each file with the temperature of the others",
        table(file_head(files), rows),
        tag("p", note, class_="note"),
    )


def _facts(data: Data) -> Facts:
    earlier = [f"{one['temperature']:.4f}" for one in data.get("earlier", ())]
    return [
        ("model", data["model"]["name"]),
        ("digest", data["model"]["fingerprint"]),
        ("labels", ", ".join(data["labels"])),
        *([("earlier temperatures", ", ".join(earlier))] if earlier else []),
    ]


def _confidence_note(temperature: float) -> str:
    """What a fitted temperature says about the model's confidence."""
    return "the model was overconfident" if temperature > 1 else "the model was underconfident"
