"""Figures as text, shared by pages and terminal output: evaluations and inspections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Data: TypeAlias = Mapping[str, Any]
Facts: TypeAlias = list[tuple[str, str]]

NOTHING = "–"


def count(value: int) -> str:
    """A count with separators: ``1,580,000``."""
    return f"{value:,}"


def percent(share: float | None, digits: int = 2) -> str:
    """A share from 0 to 1 in percent; a dash for None."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def interval(ends: tuple[float, float], *, signed: bool = False) -> str:
    """Two shares from 0 to 1 as an interval in percent."""
    low, high = (f"{100 * end:{'+' if signed else ''}.2f}" for end in ends)
    return f"{low} to {high} %"


def model_facts(model: Data) -> Facts:
    """Facts about the evaluated model."""
    kind = "bundle" if model["kind"] == "bundle" else "Keras model from a training run"
    version = f" {model['version']}" if model["version"] else ""
    facts = [
        ("model", f"{model['name']}{version}"),
        ("format", kind),
        ("digest", model["digest"]),
        ("labels", ", ".join(model["labels"])),
    ]
    if "set_aside" in model:
        others = ", ".join(model["set_aside"])
        rest = f"{others}; all metrics use the remaining probabilities, renormalized"
        facts.append(("labels left out", rest if others else "none: the model has no other labels"))
    return facts


def evaluation_rows(rows: Data) -> Facts:
    """How the rows of an evaluation were used; counts of 0 are left out."""
    left_out = [("no label", rows["without_label"])]
    left_out += [
        (f"label {name!r}, not in --labels", number) for name, number in rows["other_labels"].items()
    ]
    left_out += [
        (f"label {name!r}, unknown to the model", number) for name, number in rows["unknown_labels"].items()
    ]
    left_out += [
        ("text is also in a --without file", rows["repeated"]),
        ("null, empty or whitespace only", rows["blank"]),
    ]
    return [
        ("rows read", count(rows["read"])),
        *((f"left out: {reason}", count(number)) for reason, number in left_out if number),
        ("rows evaluated", count(rows["judged"])),
    ]


def headline(metrics: Data) -> list[tuple[str, str, str]]:
    """The main figures: (name, figure, note)."""
    facts = [
        ("accuracy", percent(metrics["accuracy"]), f"95 %: {interval(metrics['interval'])}"),
        (
            "macro-recall",
            percent(metrics["macro_recall"]),
            f"mean over the labels; 95 %: {interval(metrics['macro_recall_interval'])}",
        ),
        ("macro-F1", percent(metrics["macro_f1"]), "mean over the labels"),
    ]
    if calibration := metrics["calibration"]:
        facts += [
            ("calibration error", percent(calibration["ece"]), "0 is perfect"),
            ("log loss", f"{calibration['log_loss']:.4f}", "nats per row"),
            ("Brier score", f"{calibration['brier']:.4f}", "0 to 2, 0 is perfect"),
        ]
    return facts


def macro_recall(metrics: Data) -> tuple[str, str]:
    """The macro-recall and its interval."""
    return percent(metrics["macro_recall"]), interval(metrics["macro_recall_interval"])


def inspection_rows(data: Data) -> Facts:
    """How the rows of an inspection were used; except for the first and last, counts of 0 are left out."""
    rows = data["rows"]
    special = [
        ("left out: no label", rows["without_label"]),
        ("left out: label not in --labels", rows["other_labels"]),
        ("null", rows["null"]),
        ("texts nan or None, probably missing values from pandas; counted as texts", rows["written_missing"]),
        ("empty or whitespace only", rows["empty"]),
        ("no tokens", rows["wordless"]),
        ("invalid UTF-8, replaced", rows["broken_utf8"]),
        (f"longer than {data['max_chars']:,} characters", rows["truncated"]),
    ]
    return [
        ("rows read", count(rows["read"])),
        *((name, count(number)) for name, number in special if number),
        ("rows inspected", count(rows["inspected"])),
    ]


def overlap_rows(rows: Data) -> list[tuple[str, str, str]]:
    """How many rows of a data set also occur in another: (what, rows, share)."""
    texts = rows["read"] - rows["no_text"]
    kinds = (
        ("identical text", "exactly_the_same"),
        ("same letters and digits", "same_text"),
        ("outside", "outside"),
    )
    without = [("null, empty or whitespace only", count(rows["no_text"]), "")] if rows["no_text"] else []
    return [
        ("rows read", count(rows["read"]), ""),
        *without,
        *((words, count(rows[key]), percent(rows[key] / max(1, texts), 1)) for words, key in kinds),
    ]


def repeat_facts(duplicates: Data) -> list[tuple[str, str, str]]:
    """How often texts repeat: (what, exactly the same, same letters and digits)."""
    exact, same = duplicates["exact"], duplicates["same_text"]
    kinds = (
        ("repeated texts", "texts"),
        ("rows after the first occurrence", "rows"),
        ("texts with several labels", "conflicting_texts"),
        ("rows with those texts", "conflicting_rows"),
    )
    return [(words, count(exact[key]), count(same[key])) for words, key in kinds]


def user_facts(users: Data) -> Facts:
    """Facts about the users who wrote the rows."""
    return [
        ("users", count(users["users"])),
        ("rows with a user", percent(users["rows_with_a_user"])),
        ("most rows by one user", count(users["most_rows_of_one"])),
        ("users with one row", count(users["users_with_one_row"])),
    ]


def nltk_facts(nltk: Data) -> Facts:
    """NLTK's statistics of a sample."""
    return [
        ("rows in the sample", count(nltk["rows"])),
        ("tokens", count(nltk["tokens"])),
        ("distinct tokens", count(nltk["types"])),
        ("type-token ratio", f"{nltk['type_token_ratio']:.4f}"),
        ("seen once (hapaxes)", count(nltk["hapaxes"])),
    ]
