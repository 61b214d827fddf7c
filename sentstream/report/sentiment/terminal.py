"""An analysis of scored rows as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sentstream.markup import printable
from sentstream.report.sentiment.figures import (
    DRIFT_HEAD,
    change_rows,
    drift_rows,
    figures_head,
    figures_row,
    group_name,
    is_valued,
    labels_shown,
    model_words,
    quality_rows,
    rest_name,
    share_interval,
    signed,
    signed_interval,
    timeline_words,
    training_words,
)
from sentstream.report.words import NOTHING, Data, count, percent

#: Maximum number of buckets, words and texts shown in a terminal; --json and the page have all.
_MOST_BUCKETS, _MOST_WORDS, _MOST_TEXTS = 24, 8, 3


def sentiment_tables(data: Data) -> Iterator[RenderableType]:
    """Yield what ``sentstream report`` prints.

    Args:
        data: The analysis as JSON-serializable data.
    """
    scores, labels, valued = data["scores"], labels_shown(data), is_valued(data)
    figures = scores["figures"]
    models = [("model", model_words(one["model"])) for one in scores["models"]]
    value = signed(figures["value"]), signed_interval(figures["value_interval"])
    yield from _table(
        "Rows",
        (),
        [*quality_rows(data), *models, *([("mean value", " · 95 %: ".join(value))] if valued else [])],
    )
    yield from _table(
        "Labels",
        ("label", "rows", "share", "95 % interval"),
        [
            (one["label"], count(one["rows"]), percent(one["share"], 1), share_interval(one["interval"]))
            for one in figures["shares"]
        ],
    )
    head = figures_head(labels, valued=valued)
    if data["time"] is not None:
        buckets = data["time"]["buckets"]
        shown = buckets[-_MOST_BUCKETS:]
        title = (
            "Over time"
            if len(shown) == len(buckets)
            else f"Over time, the last {len(shown)} of {len(buckets)}"
        )
        rows = [(one["label"], *figures_row(one["figures"], labels, valued=valued)) for one in shown]
        yield from _table(title, (data["time"]["bucket"] or "", *head), rows)
        yield Text(timeline_words(data["time"]), style="dim")
        yield Text()
    for grouping in data["groups"]:
        named = [(group_name(one["name"]), one["figures"]) for one in grouping["groups"]]
        if grouping["rest"] is not None:
            named.append((rest_name(grouping), grouping["rest"]))
        rows = [(name, *figures_row(one, labels, valued=valued)) for name, one in named]
        yield from _table(f"By {grouping['column']}", (grouping["column"], *head), rows)
    if data["words"] is not None and data["words"]["labels"]:
        table_rows = [
            (one["label"], ", ".join(word["word"] for word in one["words"][:_MOST_WORDS]) or NOTHING)
            for one in data["words"]["labels"]
        ]
        yield from _table("Words that set the labels apart", (), table_rows, words=True)
    for one in data["examples"] or ():
        table_rows = [
            (_strength(example), example["text"].replace("\n", " ")) for example in one["rows"][:_MOST_TEXTS]
        ]
        yield from _table(f"Most {one['kind']}", (), table_rows, words=True)
    if data["comparison"] is not None:
        yield from _comparison(data)
    yield from _training(data)


def _strength(example: Data) -> str:
    if example["value"] is not None:
        return signed(example["value"])
    return percent(max(example["probabilities"], default=0.0), 1)


def _training(data: Data) -> Iterator[RenderableType]:
    training = data["training"]
    title = "Drift from the training data"
    rows = change_rows(training["shares"])
    yield from _table(title, ("", "held out", "here", "points", "95 % interval"), rows)
    yield from _table("" if rows else title, DRIFT_HEAD, drift_rows(training["drift"]))
    yield Text(printable(f"{'' if rows else f'{title}: '}{training_words(data)}"), style="dim")


def _comparison(data: Data) -> Iterator[RenderableType]:
    comparison = data["comparison"]
    name = comparison["before"]["names"][0]
    rows = change_rows(comparison["shares"])
    yield from _table(f"Compared with {name}", ("", "before", "now", "points", "95 % interval"), rows)
    yield from _table("Drift", DRIFT_HEAD, drift_rows(comparison["drift"]))
    agreement = comparison["agreement"]
    if agreement is None:
        yield Text(f"The rows differ: {comparison['apart']}.", style="dim")
    elif agreement["rows"]:
        share = percent(agreement["same"] / agreement["rows"], 1)
        yield Text(
            f"{share} of {count(agreement['rows'])} rows keep their label"
            f" (95 %: {share_interval(agreement['interval'])})."
        )


def _table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False
) -> Iterator[RenderableType]:
    if not rows:
        return
    table = Table(
        *map(printable, head), title=printable(title), title_justify="left", title_style="bold", box=None,
        show_header=bool(head), pad_edge=False, header_style="dim",
    )  # fmt: skip
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    for column in table.columns[1:]:
        if not words:
            column.justify = "right"
        column.overflow = "fold"
    yield table
    yield Text()
