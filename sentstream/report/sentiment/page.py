"""The page of an analysis of scored rows."""

from __future__ import annotations

from sentstream.markup import Html, tag
from sentstream.report.page import Section, render_page, tiles
from sentstream.report.sentiment import sections
from sentstream.report.sentiment.figures import (
    is_valued,
    model_words,
    share_interval,
    signed,
    signed_interval,
    span_words,
)
from sentstream.report.words import Data, count, percent


def sentiment_page(data: Data) -> str:
    """Return a standalone page.

    Args:
        data: The output of ``sentstream report --json``.
    """
    scores = data["scores"]
    figures = scores["figures"]
    parts: list[Html | Section] = [_tiles(data)]
    if len(scores["models"]) > 1:
        parts.append(sections.several_models(data))
    if data["time"] is not None:
        parts.append(sections.over_time(data))
    parts += [sections.by_group(data, grouping) for grouping in data["groups"]]
    if figures["labeled"]:
        parts.append(sections.labels_and_scores(data))
    if data["words"] is not None and data["words"]["labels"]:
        parts.append(sections.words(data))
    if data["examples"] is not None and figures["labeled"]:
        parts.append(sections.texts(data))
    if data["comparison"] is not None:
        parts.append(sections.compared(data))
    parts.append(sections.against_training(data))
    parts += [sections.certainty(data), sections.quality(data), sections.model(data)]
    return render_page(
        f"Sentiment of {_what(scores['names'])}", _lead(data), *parts, version=data["sentstream"]
    )


def _what(names: list[str]) -> str:
    """The names of the inputs, without their folders."""
    short = [name.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or name for name in names]
    return short[0] if len(short) == 1 else f"{short[0]} and {count(len(short) - 1)} more"


def _lead(data: Data) -> str:
    scores = data["scores"]
    rows = scores["figures"]["rows"]
    words = f"{count(rows)} {'row' if rows == 1 else 'rows'}"
    if scores["files"] > 1:
        words += f" from {count(scores['files'])} files"
    if span := span_words(data["time"]):
        words += f", {span}"
    if len(scores["models"]) == 1 and scores["models"][0]["model"]["name"]:
        words += f", scored by {model_words(scores['models'][0]['model'])}"
    if data["where"] is not None:
        words += f". Only rows that match {data['where']}"
    return f"{words}."


def _tiles(data: Data) -> Html:
    figures = data["scores"]["figures"]
    if not figures["labeled"]:
        return tag("p", "No row has a label: all texts are null, empty or white space only.")
    facts = []
    if is_valued(data):
        interval = f"95 %: {signed_interval(figures['value_interval'])}"
        facts.append(("mean value, −1 to +1", signed(figures["value"]), interval))
    facts += [
        (share["label"], percent(share["share"], 1), f"95 %: {share_interval(share['interval'])}")
        for share in figures["shares"]
    ]
    without = figures["rows"] - figures["labeled"]
    note = f"and {count(without)} without" if without else "every row"
    facts.append(("rows with a label", count(figures["labeled"]), note))
    few = (
        [tag("p", "Fewer than 30 rows: these figures are unreliable.", class_="warning")]
        if figures["few"]
        else []
    )
    return tag("div", tiles(facts), *few)
