"""Figures of an analysis as text and table rows, shared by page, terminal and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentstream.drift.distances import PSI_LARGE, PSI_SOME
from sentstream.report.words import NOTHING, Data, count, percent

FEW = "few rows"
#: Names of distributions.
DRIFT_OF = {
    "labels": "labels",
    "scores": "highest probabilities",
    "values": "values",
    "words": "known and unknown words",
}
DRIFT_HEAD = ("distribution", "PSI", "drift", "Jensen–Shannon, bits")


def signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign, as a minus sign instead of a hyphen; a dash for None.

    >>> signed(-0.126), signed(0.5), signed(-0.001)
    ('−0.13', '+0.50', '0.00')
    """
    if value is None:
        return NOTHING
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def signed_interval(ends: Sequence[float] | None) -> str:
    """An interval of signed numbers; a dash for None."""
    return NOTHING if ends is None else f"{signed(ends[0])} to {signed(ends[1])}"


def share_interval(ends: Sequence[float] | None) -> str:
    """An interval of shares from 0 to 1, in percent; a dash for None.

    >>> share_interval((0.301, 0.42))
    '30.1 to 42.0 %'
    """
    return NOTHING if ends is None else f"{100 * ends[0]:.1f} to {percent(ends[1], 1)}"


def points(difference: float | None) -> str:
    """A difference of shares from 0 to 1, in percentage points; a dash for None.

    >>> points(-0.031)
    '−3.1'
    """
    return NOTHING if difference is None else signed(100 * difference, 1)


def share_of(figures: Data, label: str) -> Mapping[str, Any] | None:
    """A label's share of some rows; None if it has none."""
    return next((share for share in figures["shares"] if share["label"] == label), None)


def share_words(figures: Data, label: str, digits: int = 1) -> str:
    """A label's share in percent; a dash if there are no rows."""
    share = share_of(figures, label)
    return percent(None if share is None else share["share"], digits)


def labels_shown(data: Data) -> list[str]:
    """The labels of an analysis, including ``uncertain`` if any row has it."""
    present = [share["label"] for share in data["scores"]["figures"]["shares"]]
    return present or list(data["labels"])


def is_valued(data: Data) -> bool:
    """Whether rows have a value: whether there are positive and negative labels."""
    return data["scores"]["values"] is not None


def row_count_text(figures: Data) -> str:
    """The number of labeled rows, and whether these are few.

    >>> row_count_text({"labeled": 12, "few": True})
    '12, few rows'
    """
    return f"{count(figures['labeled'])}{f', {FEW}' if figures['few'] else ''}"


def figures_head(labels: Sequence[str], *, valued: bool) -> list[str]:
    """The column names of ``figures_row``."""
    return ["rows", *labels, *(["value", "95 % interval"] if valued else [])]


def figures_row(figures: Data | None, labels: Sequence[str], *, valued: bool) -> list[str]:
    """The figures of some rows as table cells; dashes for a gap."""
    if figures is None:
        return ["no rows", *[NOTHING] * (len(labels) + 2 * valued)]
    cells = [row_count_text(figures), *(share_words(figures, label) for label in labels)]
    if valued:
        cells += [signed(figures["value"]), signed_interval(figures["value_interval"])]
    return cells


def group_name(name: str | None) -> str:
    """The displayed name of a group, also for null and empty values."""
    if name is None:
        return "(none)"
    return name if name.strip() else "(empty)"


def grouping_words(grouping: Data) -> str:
    """The number of groups, and what is not shown."""
    least = "at least " if grouping["missed"] else ""
    values = "value" if grouping["count"] == 1 else "values"
    words = f"{least}{count(grouping['count'])} {values} of {grouping['column']}"
    if grouping["rest"] is not None and grouping["rest_count"]:
        words += f"; the {count(len(grouping['groups']))} with the most rows are shown"
    if grouping["missed"]:
        words += (
            f"; they are too many to count exactly, so each count may be up to"
            f" {count(grouping['missed'])} rows too low"
        )
    return f"{words}."


def rest_name(grouping: Data) -> str:
    """The name of the combined groups."""
    number = grouping["rest_count"]
    if not number:
        return "all others"
    return f"{count(number)} {'other' if number == 1 else 'others'}"


def model_words(model: Data) -> str:
    """A model's name, version and the beginning of its digest."""
    if model["name"] is None:
        return "unknown (only Parquet and Arrow record it)"
    digest = f", {model['digest'][:19]}" if model["digest"] else ""
    return f"{model['name']} {model['version'] or ''}".strip() + digest


def drift_words(psi: float) -> str:
    """The usual interpretation of a population stability index."""
    if psi < PSI_SOME:
        return "little"
    return "some" if psi < PSI_LARGE else "much"


def change_rows(shares: Sequence[Data]) -> list[tuple[str, ...]]:
    """How the labels' shares differ: before, now, the difference in points, and its interval."""
    return [
        (
            one["label"],
            percent(one["before"], 1),
            percent(one["after"], 1),
            points(one["difference"]),
            NOTHING if one["interval"] is None else " to ".join(map(points, one["interval"])),
        )
        for one in shares
    ]


def drift_rows(drift: Sequence[Data]) -> list[tuple[str, ...]]:
    """The distances between distributions, with the columns ``DRIFT_HEAD``."""
    return [
        (DRIFT_OF[one["what"]], f"{one['psi']:.3f}", drift_words(one["psi"]), f"{one['jensen_shannon']:.4f}")
        for one in drift
    ]


def training_words(data: Data) -> str:
    """The baseline that the rows are compared with, or why there is none."""
    training = data["training"]
    if training["why"] is not None:
        return f"Not measured: {training['why']}."
    return f"Baseline, held out in training: {training['of']}."


def quality_rows(data: Data) -> list[tuple[str, str]]:
    """Data quality of the rows and texts."""
    figures, quality = data["scores"]["figures"], data["quality"]
    rows = [("rows", count(figures["rows"])), ("rows with a label", count(figures["labeled"]))]
    if quality is None:
        return rows
    repeats = quality["repeats"]
    prefix = "" if repeats["sampled"] == 1 else "about "
    labeled = figures["labeled"]
    rows += [
        ("null texts", count(quality["null"])),
        ("empty or whitespace-only texts", count(quality["empty"])),
    ]
    if quality["unlabeled"]:
        rows.append(("texts without a label", count(quality["unlabeled"])))
    rows += [
        (f"truncated at {count(quality['max_chars'])} characters", count(quality["cut"])),
        ("distinct texts", f"{prefix}{count(repeats['distinct'])}"),
        (
            "repeats of an earlier text",
            f"{prefix}{count(repeats['repeated'])}, {percent(repeats['repeated'] / labeled, 1)}"
            if labeled
            else NOTHING,
        ),
        ("unknown words", percent(quality["unknown"], 1)),
        *_language_rows(quality["languages"]),
    ]
    return rows


def _language_rows(languages: Data) -> list[tuple[str, str]]:
    """Counts of texts that are probably in another language."""
    looked_at = languages["rows"]
    if not looked_at:
        return []
    other = sum(one["rows"] for one in languages["scripts"])
    named = [f"{one['script']} {percent(one['rows'] / looked_at, 1)}" for one in languages["scripts"][:3]]
    more = f" ({', '.join(named)}{', …' if len(languages['scripts']) > 3 else ''})" if named else ""
    rows = [("texts mostly in non-Latin letters", percent(other / looked_at, 1) + more)]
    if languages["long"] is not None:
        share = percent(languages["strange"] / languages["long"] if languages["long"] else None, 1)
        population = f"Latin-script texts of {languages['least_words']} or more words"
        rows.append((f"{population} with under half the words known", share))
    return rows


def languages_words(languages: Data) -> str:
    """How to interpret the rows about languages."""
    return (
        f"Languages are not detected; the letters and known words of {count(languages['rows'])} texts were"
        " counted. Texts in other letters or with few known words are likely in other languages, but can"
        " also be names, slang or hashtags. A language that shares many words with the model's is missed."
        " The labels of such texts are unreliable."
    )


def span_words(timeline: Data | None) -> str:
    """The time span of the rows; empty without times.

    >>> span_words({"buckets": [{"label": "2026-09-01 07:00"}, {"label": "2026-09-01 12:00"}]})
    '2026-09-01 07:00 to 12:00'
    """
    if timeline is None or not timeline["buckets"]:
        return ""
    first, last = timeline["buckets"][0]["label"], timeline["buckets"][-1]["label"]
    if first == last:
        return str(first)
    day, _, clock = last.partition(" ")
    return f"{first} to {clock if clock and first.startswith(day) else last}"


def timeline_words(timeline: Data) -> str:
    """Notes on a chart over time: buckets, time zone, gaps and omissions."""
    words = [f"Per {timeline['bucket']}" if timeline["bucket"] else "No row has a time"]
    if timeline["bucket"]:
        zone = timeline["zone"]
        words[0] += f", in {zone}" if zone else "; the times have no time zone"
    if len(timeline["buckets"]) > 1:
        words.append("the first and last may be incomplete")
    gaps = sum(bucket["figures"] is None for bucket in timeline["buckets"])
    if gaps:
        words.append(
            f"{count(gaps)} {'bucket has' if gaps == 1 else 'buckets have'} no rows and are shown as gaps"
        )
    if any(bucket["figures"] and bucket["figures"]["few"] for bucket in timeline["buckets"]):
        words.append("hollow dots mark fewer than 30 rows, too few to rely on")
    if timeline["outside"]:
        verb = "row is" if timeline["outside"] == 1 else "rows are"
        words.append(f"{count(timeline['outside'])} {verb} far outside this range and not shown")
    if timeline["without"]:
        verb = "row has" if timeline["without"] == 1 else "rows have"
        words.append(f"{count(timeline['without'])} {verb} no time")
    return "; ".join(words) + "."
