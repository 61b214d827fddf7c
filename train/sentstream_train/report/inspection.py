"""The page of an inspection of data."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.markup import Html, tag
from sentstream.report.page import (
    Section,
    columns,
    figure,
    file_table,
    render_page,
    section,
    share_cell,
    table,
    tiles,
)
from sentstream.report.words import (
    Data,
    count,
    inspection_rows,
    nltk_facts,
    percent,
    repeat_facts,
    user_facts,
)
from sentstream_train.report.charts import length_histogram

LENGTHS = ("mean", "min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max")


def inspection_page(data: Data) -> str:
    """The page as one self-contained HTML file.

    Args:
        data: The output of ``sentstream data inspect --json``.
    """
    names = [one["name"] for one in data["files"]]
    vocabulary = data["vocabulary"]
    return render_page(
        f"Contents of {names[0]}" if len(names) == 1 else f"Contents of {len(names)} files",
        "Size, balance, lengths, vocabulary, duplicates and frequent words; no text of the data is shown.",
        tiles(
            [
                ("rows", count(data["rows"]["inspected"]), ""),
                ("labels", count(len(data["labels"])), ""),
                ("tokens", count(vocabulary["tokens"]), ""),
                ("distinct tokens", count(vocabulary["types"]), ""),
                ("repeated rows", count(data["duplicates"]["exact"]["rows"]), ""),
            ]
        ),
        section("Rows", columns(table((), inspection_rows(data)), file_table(data["files"]))),
        section(
            "Labels and contents",
            columns(*([_balance(data["labels"])] if data["labels"] else []), _contents(data)),
        ),
        _lengths(data["lengths"]),
        _vocabulary(vocabulary),
        section(
            "Duplicates and users",
            columns(
                table(("", "identical", "same letters and digits"), repeat_facts(data["duplicates"])),
                *([table((), user_facts(data["users"]))] if data["users"] else []),
            ),
        ),
        *([_frequent_words(data["frequent_words"])] if data["frequent_words"] else []),
        *([_nltk(data["nltk"])] if data.get("nltk") else []),
        version=data["sentstream"],
    )


def _balance(labels: Sequence[Data]) -> Html:
    rows = [
        (one["label"], count(one["rows"]), share_cell(one["share"], percent(one["share"]))) for one in labels
    ]
    return table(("label", "rows", "share"), rows)


def _contents(data: Data) -> Html:
    rows = [(name, share_cell(share, percent(share))) for name, share in data["contents"].items()]
    return table(("rows with", "share"), rows)


def _lengths(lengths: Data) -> Section:
    units = [unit for unit in ("characters", "tokens") if lengths[unit]["rows"]]
    charts = [
        figure(
            length_histogram(
                lengths[unit]["histogram"]["rows"], lengths[unit]["histogram"]["bin_width"], unit
            ),
            f"{unit.capitalize()} per row; rows without text are left out.",
        )
        for unit in units
    ]
    rows = [(unit, *(f"{lengths[unit][name]:,}" for name in LENGTHS)) for unit in units]
    return section("Lengths", columns(*charts), table(("", *LENGTHS), rows))


def _vocabulary(vocabulary: Data) -> Section:
    coverage = [
        (
            count(one["size"]),
            share_cell(one["tokens"], percent(one["tokens"])),
            percent(one["types"]),
            count(one["rarest_count"]),
        )
        for one in vocabulary["coverage"]
    ]
    frequent = [
        (
            one["word"],
            share_cell(one["share"] / vocabulary["most_frequent"][0]["share"], percent(one["share"])),
        )
        for one in vocabulary["most_frequent"]
    ]
    once = percent(vocabulary["types_seen_once"] / max(1, vocabulary["types"]))
    return section(
        "Vocabulary",
        tag("p", f"{count(vocabulary['types_seen_once'])} distinct tokens ({once}) occur once."),
        columns(
            tag(
                "div",
                tag("h3", "Vocabulary coverage by size"),
                table(("size", "share of tokens", "share of distinct", "rarest count"), coverage),
            ),
            tag("div", tag("h3", "Most frequent tokens"), table(("token", "share"), frequent)),
        ),
    )


def _frequent_words(words: Data) -> Section:
    tables = [
        tag(
            "div",
            tag("h3", label),
            table(
                ("word", "z", "times", "elsewhere"),
                [
                    (one["word"], f"{one['z']:.1f}", count(one["count"]), count(one["elsewhere"]))
                    for one in rows
                ],
            ),
        )
        for label, rows in words.items()
    ]
    return section(
        "Words that mark a label",
        tag(
            "p",
            "Ranked by their log-odds ratio against all other rows, as a z-score (Monroe et al. 2008).",
        ),
        columns(*tables),
    )


def _nltk(nltk: Data) -> Section:
    rows = [
        (" ".join(one["words"]), count(one["count"]), f"{one['log_likelihood']:,.1f}")
        for one in nltk["collocations"]
    ]
    return section(
        "A sample analyzed with NLTK",
        tag("p", "Collocations are ranked by their log-likelihood ratio against chance (Dunning 1993)."),
        columns(table((), nltk_facts(nltk)), table(("collocation", "times", "log-likelihood"), rows)),
    )
