"""Explained tweets as a page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sentstream.markup import Html, printable, tag
from sentstream.report.charts import label_kinds, prefix_curve
from sentstream.report.page import Section, columns, figure, render_page, scrolling, section
from sentstream.report.words import NOTHING, Data, percent

_BLANK = "no text, so no label"
_NOTE = (
    "So far: the probabilities if the tweet ended after this word. Effect: how much higher the label's"
    " probability is than in the tweet without the word (Li, Monroe and Jurafsky 2016). Effects do not add"
    " up, because words interact. Speaks for: the label whose probability the word raises most."
)
_LONGEST_WHOLE = 16  # words up to this width are not broken, even on a narrow terminal
_LONGEST_SOURCE = 16  # maximum characters shown of a word's source
_SHADES = (0.3, 0.1, 0.02)  # minimum gain in probability for a strong, medium and faint tint
_LEAST = 0.0005  # the smallest effect that is not displayed as 0.0
_SIDE_BY_SIDE = 3  # maximum number of labels with which the table fits next to the curve
_COLORS = ("red", "yellow", "green", "cyan", "magenta", "blue")  # by kind of label


def explanation_page(data: Data) -> str:
    """Return a standalone page.

    Args:
        data: The output of ``sentstream explain --json``.
    """
    labels, model = data["labels"], data["model"]
    return render_page(
        "Explanation",
        f"How {model['name']} {model['version']} classifies {_tweets(len(data['tweets']))}, word by word.",
        *(_tweet(one, labels) for one in data["tweets"]),
        tag("p", _NOTE, class_="note"),
        tag("p", f"Model: {model['digest']}", class_="note"),
        version=data["sentstream"],
    )


def _tweets(count: int) -> str:
    return "a tweet" if count == 1 else f"{count:,} tweets"


def _tweet(one: Data, labels: Sequence[str]) -> Section:
    if one["label"] is None:
        return section(_BLANK)
    title = f"{one['label']}, {percent(one['score'], 1)}"
    supports = [_support(one, step, labels) for step in one["steps"]]
    words = [_word(step, support, labels) for step, support in zip(one["steps"], supports, strict=True)]
    rows = [
        tag(
            "tr",
            tag("td", step["token"], *_note_tags(step), dir="auto"),
            *(tag("td", percent(share, 1)) for share in step["probabilities"]),
            tag("td", _effect(step["effect"])),
            tag("td", support.label, class_="text"),
        )
        for step, support in zip(one["steps"], supports, strict=True)
    ]
    names = ("word", *(f"so far {label}" for label in labels), "effect")
    heads = (*((name, None) for name in names), ("speaks for", "text"))
    table = scrolling(
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", head, scope="col", class_=kind) for head, kind in heads))),
            tag("tbody", *rows),
            class_="words",
        ),
        "Table: the effect of each word",
    )
    cut = [tag("p", "The tweet is longer than the model reads.", class_="note")] if one["truncated"] else []
    caption = "Each label's probability if the tweet ended after this word."
    curve = figure(prefix_curve(labels, one["steps"]), caption)
    return section(
        title,
        tag("p", Html(" ".join(words)), class_="tinted", dir="auto"),
        *cut,
        *([columns(curve, table)] if len(labels) <= _SIDE_BY_SIDE else [curve, table]),
    )


@dataclass(frozen=True)
class _Support:
    """The effect of a word on the label it supports most.

    Attributes:
        label: The label whose probability it raises most; a dash if it raises none visibly, or if it is the
            only word of a tweet.
        gain: The increase in probability.
    """

    label: str
    gain: float


def _support(one: Data, step: Data, labels: Sequence[str]) -> _Support:
    if step["without"] is None:
        return _Support(NOTHING, 0.0)
    whole = one["steps"][-1]["probabilities"]
    gains = [has - without for has, without in zip(whole, step["without"], strict=True)]
    gain = max(gains)
    return _Support(labels[gains.index(gain)], gain) if gain >= _LEAST else _Support(NOTHING, 0.0)


def _word(step: Data, support: _Support, labels: Sequence[str]) -> Html:
    """A word in the color, and with the underline style, of the label that it speaks for."""
    shade = _shade(support.gain)
    kind = f"label l{label_kinds(labels)[labels.index(support.label)]} s{shade}" if shade else None
    if step["without"] is None:
        title = "the only word"
    else:
        title = f"{support.label} {_effect(support.gain)}" if support.gain else "almost no effect"
    return tag("span", step["token"], class_=kind, title=title)


def _note_tags(step: Data) -> list[Html]:
    return [tag("small", " " + note) for note in _notes(step)]


def _notes(step: Data) -> list[str]:
    """Notes on a word: its source if that differs, and whether it is unknown."""
    token, source = step["token"], step.get("source") or step["token"]
    shown = source if len(source) <= _LONGEST_SOURCE else source[: _LONGEST_SOURCE - 1] + "…"
    return [f"from {shown}"] * (source.lower() != token.lower()) + ["unknown"] * (not step["known"])


def _shade(gain: float) -> int:
    """The shade for a gain, from 0 for hardly any to 3 for a large one."""
    return sum(gain >= least for least in _SHADES)


def _effect(effect: float | None) -> str:
    if effect is None:
        return NOTHING
    return "0.0" if abs(effect) < _LEAST else f"{100 * effect:+.1f}"


def explanation_tables(data: Data) -> Iterator[RenderableType]:
    """Yield what ``sentstream explain`` prints.

    Args:
        data: The explanation as JSON-serializable data.
    """
    labels = data["labels"]
    for one in data["tweets"]:
        if one["label"] is None:
            yield Text(_BLANK, style="dim")
            yield Text()
            continue
        line = Text(printable(f"{one['label']} {percent(one['score'], 1)}  "), style="bold")
        table = Table(box=None, pad_edge=False, header_style="dim")
        longest = max((cell_len(printable(step["token"])) for step in one["steps"]), default=0)
        table.add_column("word", overflow="fold", min_width=min(longest, _LONGEST_WHOLE))
        for head in (*labels, "effect"):
            table.add_column(Text(printable(head)), justify="right", overflow="fold")
        table.add_column("speaks for", overflow="fold")
        for step in one["steps"]:
            support = _support(one, step, labels)
            style = _style(support, labels)
            line.append(printable(step["token"]), style=style).append(" ", style="not bold")
            name = Text(printable(step["token"]))
            for note in _notes(step):
                name.append(printable(f" {note}"), style="dim")
            shares = [Text(percent(share, 1)) for share in step["probabilities"]]
            table.add_row(name, *shares, _effect(step["effect"]), Text(printable(support.label), style=style))
        yield line
        yield table
        if one["truncated"]:
            yield Text("The tweet is longer than the model reads.", style="dim")
        yield Text()
    yield Text(_NOTE, style="dim")


def _style(support: _Support, labels: Sequence[str]) -> str:
    """The color of the label that a word speaks for; bold and underline also work without colors."""
    shade = _shade(support.gain)
    color = _COLORS[label_kinds(labels)[labels.index(support.label)]] if shade else ""
    return ("not bold", f"not bold {color}", f"bold {color}", f"bold underline {color}")[shade]
