"""A hyperparameter search as a page and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sentstream.markup import Html, printable, tag
from sentstream.report.page import (
    columns,
    figure,
    file_table,
    render_page,
    section,
    share_cell,
    table,
    tiles,
)
from sentstream.report.words import NOTHING, Data, Facts, count, percent
from sentstream_train.report.search.charts import search_curve, setting_chart

#: How many trials the terminal shows; --json and the page have them all.
_MOST_TRIALS = 5


def search_page(data: Data) -> str:
    """The page as one self-contained HTML file.

    Args:
        data: The output of ``sentstream tune --json``, or the same data of an unfinished search.
    """
    trials = data["trials"]
    varying = {name: domain for name, domain in data["space"].items() if isinstance(domain, list | dict)}
    return render_page(
        f"Search over {count(len(varying))} settings",
        f"{count(len(trials))} trials, ranked by {data['metric']} on {count(data['rows']['validation'])}"
        " held-out rows; trial 0 is the starting point.",
        tiles(_headline(data)),
        section(
            "Trials",
            columns(
                figure(
                    search_curve(trials),
                    "Score by trial. A ring is a trial that was pruned after an epoch; the line is the best"
                    " complete one so far.",
                ),
                _best(data),
            ),
            _note(data),
        ),
        section(
            "Score by setting",
            tag(
                "p",
                "Each dot is a trial. Settings vary together, so another setting may cause a slope.",
                class_="note",
            ),
            columns(*(setting_chart(trials, name, domain) for name, domain in varying.items())),
        ),
        section("All trials", _all_trials(data, list(varying))),
        section("Rows", file_table(data["data"])),
        version=data["sentstream"],
    )


def search_tables(data: Data) -> Iterator[RenderableType]:
    """The tables that ``sentstream tune`` prints.

    Args:
        data: The search as JSON-ready data.
    """
    ended = [one for one in data["trials"] if one["state"] == "complete"]
    best = sorted(ended, key=lambda one: (-one["score"], one["number"]))[:_MOST_TRIALS]
    table = Table("trial", data["metric"], "seconds", "settings", box=None, pad_edge=False)
    for index in range(3):
        table.columns[index].justify = "right"
    for one in best:
        settings = ", ".join(f"{name} {_shown(value)}" for name, value in one["settings"].items())
        table.add_row(
            str(one["number"]), percent(one["score"]), f"{one['seconds']:.0f}", Text(printable(settings))
        )
    yield table
    yield Text()
    yield Text(", ".join(f"{name}: {value}" for name, value in _counts(data)))


def search_next(data: Data) -> list[str]:
    """The commands to run next, as lines to copy, which must not be wrapped."""
    folder, options = data["best"]["folder"], [*data["best"]["train_options"], *_teachers(data)]
    return [
        f"best:  {printable(folder)}",
        f"next:  sentstream evaluate {printable(folder)} TEST",
        f"again: sentstream train DATA --output RUN {' '.join(options)}".rstrip(),
    ]


def _teachers(data: Data) -> list[str]:
    """The options of ``sentstream train`` for the search's teachers."""
    return [
        "--teacher MODEL"
        if one["fingerprint"]
        else f"--teacher-columns {one['name'].removeprefix('columns ').removesuffix('*')}"
        for one in data.get("teachers", ())
    ]


def _headline(data: Data) -> list[tuple[str, str, str]]:
    best, first = data["best"], next(iter(data["trials"]), None)
    start = first["score"] if first and first["state"] == "complete" else None
    lead = NOTHING
    if best and start is not None:
        lead = f"{100 * (best['score'] - start):+.2f}"
    return [
        (
            f"best {data['metric']}",
            percent(best["score"]) if best else NOTHING,
            f"trial {best['number']}" if best else "no trial is complete yet",
        ),
        ("starting point", percent(start), "trial 0"),
        ("gain", lead, "percentage points"),
        *((name, value, "") for name, value in _counts(data)),
    ]


def _counts(data: Data) -> Facts:
    states = [one["state"] for one in data["trials"]]
    facts = [
        ("complete", states.count("complete")),
        ("pruned", states.count("pruned")),
        ("failed", states.count("failed")),
    ]
    if data["interrupted"]:
        facts.append(("interrupted and restarted", data["interrupted"]))
    return [(name, count(number)) for name, number in facts]


def _best(data: Data) -> Html:
    if not data["best"]:
        return tag("p", "No trial is complete yet.")
    first, best = data["trials"][0], data["trials"][data["best"]["number"]]
    rows = [
        (name.replace("_", " "), _shown(first["settings"].get(name)), _shown(value))
        for name, value in best["settings"].items()
    ]
    return tag("div", tag("h3", "Best settings"), table(("setting", "at the start", "best"), rows))


def _note(data: Data) -> Html:
    return tag(
        "p",
        "The best of many scores on the same rows is slightly optimistic: evaluate the best run on rows that"
        f" the search has not seen. A single {data['metric']} on {count(data['rows']['validation'])} rows is"
        " uncertain, too.",
        class_="note",
    )


def _all_trials(data: Data, names: list[str]) -> Html:
    scores = [one["score"] for one in data["trials"] if one["score"] is not None]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    rows: list[list[str]] = []
    for one in data["trials"]:
        score = one["score"]
        share = 0.0 if score is None else (score - low) / ((high - low) or 1.0)
        rows.append(
            [
                str(one["number"]),
                f"failed: {one['note']}" if one["note"] else _STATES[one["state"]],
                share_cell(share, percent(score)),
                count(len(one["scores"])),
                f"{one['seconds']:.1f}",
                *(_shown(one["settings"].get(name)) for name in names),
            ]
        )
    head = ("trial", "ended", "score", "epochs", "seconds", *(name.replace("_", " ") for name in names))
    return table(head, rows, texts=(1,))


_STATES = {"complete": "complete", "pruned": "pruned", "failed": "failed"}


def _shown(value: Any) -> str:
    """A setting's value as text."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return count(value) if isinstance(value, int) else str(value)
