"""Evaluations, inspections and overlaps as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sentstream.markup import printable
from sentstream.report.words import (
    NOTHING,
    Data,
    Facts,
    count,
    evaluation_rows,
    headline,
    inspection_rows,
    interval,
    macro_recall,
    model_facts,
    nltk_facts,
    overlap_rows,
    percent,
    repeat_facts,
    user_facts,
)
from sentstream_train.report.evaluation.rows import (
    COVERAGE_HEAD,
    SLICE_HEAD,
    coverage_rows,
    coverage_words,
    error_table,
    error_words,
    model_name,
    one_sided_rows,
    own_calibration_words,
    recalibration_rows,
    recalibration_words,
    row_list,
    slice_groups,
    slice_row,
    versus_rows,
    versus_words,
)
from sentstream_train.report.inspection import LENGTHS

#: How many words per label, and collocations, the terminal shows; --json and the page have them all.
_MOST_WORDS = 10


def evaluation_tables(data: Data) -> Iterator[RenderableType]:
    """The tables that ``sentstream evaluate`` prints.

    Args:
        data: The evaluation as JSON-ready data.
    """
    metrics, labels = data["metrics"], data["model"]["labels"]
    yield _facts("Model", model_facts(data["model"]), words=True)
    yield _facts("Rows", evaluation_rows(data["rows"]))
    yield _table("Figures", (), headline(metrics))
    yield _table(
        "Labels",
        ("label", "rows", "predicted", "precision", "recall", "F1"),
        [
            (
                one["label"],
                count(one["support"]),
                count(one["predicted"]),
                *(percent(one[name]) for name in ("precision", "recall", "f1")),
            )
            for one in metrics["classes"]
        ],
    )
    yield _table(
        "Confusion",
        ("", *(f"predicted {label}" for label in labels)),
        [
            (f"is {label}", *map(count, counts))
            for label, counts in zip(labels, metrics["confusion"], strict=True)
        ],
    )
    yield from _detail_tables(data)
    if data["baselines"]:
        yield _table(
            "Against baselines",
            ("system", "accuracy", "95 % interval", "the model's lead"),
            [_baseline(one) for one in data["baselines"]],
        )
        if judged := [one for one in data["baselines"] if one["metrics"]]:
            yield _table(
                "Macro-recall of baselines",
                ("system", "macro-recall", "95 % interval"),
                [(one["name"], *macro_recall(one["metrics"])) for one in judged],
            )
        for one in data["baselines"]:
            yield Text(printable(f"{one['name']}: {one['method']}"), style="dim")
        yield Text()
    if data["worst"]:
        yield from _worst_errors(data)


def _detail_tables(data: Data) -> Iterator[RenderableType]:
    """Slices, calibration, coverage and comparisons."""
    for group, slices in slice_groups(data["slices"]).items():
        yield _table(f"Slices: {group}", ("", *SLICE_HEAD), [slice_row(one) for one in slices])
    if after := data["recalibration"]["calibration"]:
        rows = recalibration_rows(data["metrics"]["calibration"], after)
        yield _table("Calibration", ("", "as is", "with temperature"), rows)
    yield _note(recalibration_words(data["recalibration"]))
    if own := data["model"].get("calibration"):
        rows = recalibration_rows(own["before"], own["after"])
        yield _table("The model's own calibration", ("", "before", "after"), rows)
        yield _note(own_calibration_words(own))
    yield _table("Coverage", COVERAGE_HEAD, coverage_rows(data["coverage"]))
    yield _note(coverage_words(data["coverage"]))
    for versus in data["comparisons"]:
        head = ("", "the model", "the other", "difference", "95 % interval")
        yield _table(f"Against {model_name(versus['model'])}", head, versus_rows(versus))
        yield _note(versus_words(versus, data["model"]["name"]))
        for words, figures in one_sided_rows(versus, data["model"]["name"]):
            with_texts = any("text" in row for row in figures)
            yield _error_table(words, figures) if with_texts else _note(f"{words}: {row_list(figures)}.")


def _error_table(title: str, worst: Sequence[Data]) -> Padding:
    head, rows = error_table(worst)
    return _table(title, head, rows, texts=[head.index("text")] if "text" in head else ())


def _worst_errors(data: Data) -> Iterator[RenderableType]:
    yield _error_table("Worst errors", data["worst"])
    yield _note(error_words(data["worst"], data["metrics"]))


def _note(words: str) -> Padding:
    return Padding(Text(printable(words), style="dim"), (0, 0, 1, 0))


def _baseline(one: Data) -> Sequence[str]:
    if not one["metrics"]:
        return (one["name"], NOTHING, NOTHING, NOTHING)
    return (
        one["name"],
        percent(one["metrics"]["accuracy"]),
        interval(one["metrics"]["interval"]),
        interval(one["comparison"]["interval"], signed=True),
    )


def inspection_tables(data: Data) -> Iterator[RenderableType]:
    """The tables that ``sentstream data inspect`` prints.

    Args:
        data: The inspection as JSON-ready data.
    """
    yield _facts("Rows", inspection_rows(data))
    if data["labels"]:
        rows = [(one["label"], count(one["rows"]), percent(one["share"])) for one in data["labels"]]
        yield _table("Balance", ("label", "rows", "share"), rows)
    lengths = {unit: figures for unit, figures in data["lengths"].items() if figures["rows"]}
    yield _table(
        "Lengths",
        ("", *LENGTHS),
        [(unit, *(f"{figures[name]:,}" for name in LENGTHS)) for unit, figures in lengths.items()],
    )
    vocabulary = data["vocabulary"]
    yield _facts(
        "Vocabulary",
        [
            ("tokens", count(vocabulary["tokens"])),
            ("distinct", count(vocabulary["types"])),
            ("seen once", count(vocabulary["types_seen_once"])),
        ],
    )
    yield _table(
        "Vocabulary coverage",
        ("size", "share of tokens", "share of distinct", "rarest count"),
        [
            (count(one["size"]), percent(one["tokens"]), percent(one["types"]), count(one["rarest_count"]))
            for one in vocabulary["coverage"]
        ],
    )
    yield _table("Duplicates", ("", "identical", "same letters and digits"), repeat_facts(data["duplicates"]))
    if data["users"]:
        yield _facts("Users", user_facts(data["users"]))
    yield _facts("Rows with", [(name, percent(share)) for name, share in data["contents"].items()])
    if data["frequent_words"]:
        words = {label: found[:_MOST_WORDS] for label, found in data["frequent_words"].items()}
        yield _facts(
            "Words that mark a label",
            [(label, " ".join(one["word"] for one in found)) for label, found in words.items()],
            words=True,
        )
    if nltk := data.get("nltk"):
        yield _facts("A sample analyzed with NLTK", nltk_facts(nltk))
        collocations = [" ".join(one["words"]) for one in nltk["collocations"][:_MOST_WORDS]]
        if collocations:
            yield _facts("Collocations", [("", ", ".join(collocations))], words=True)


def overlap_tables(data: Data) -> Iterator[RenderableType]:
    """The tables that ``sentstream data overlap`` prints.

    Args:
        data: The overlap as JSON-ready data.
    """
    yield _table("Rows whose text is in the other files", ("", "rows", "share"), overlap_rows(data["rows"]))
    if data["labels"]:
        yield _table(
            "By label",
            ("label", "same letters and digits", "outside"),
            [(one["label"], count(one["same_text"]), count(one["outside"])) for one in data["labels"]],
        )


def _facts(title: str, facts: Facts, *, words: bool = False) -> Padding:
    return _table(title, (), facts, words=words)


def _table(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: bool = False,
    texts: Sequence[int] = (),
) -> Padding:
    """A table; cells are shown literally, never parsed as rich's markup.

    Args:
        title: The title.
        head: Column names; empty for a table of facts.
        rows: The cells of each row.
        words: Align all columns left, for words instead of figures.
        texts: Columns to align left in addition to the first, in a table of figures.
    """
    table = Table(
        title=Text(printable(title), style="bold"),
        title_justify="left",
        show_header=bool(head),
        box=None,
        pad_edge=False,
    )
    for index in range(len(head or rows[0]) if head or rows else 0):
        name = Text(printable(head[index])) if head else ""
        table.add_column(name, justify="left" if words or index in (0, *texts) else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return Padding(table, (0, 0, 1, 0))
