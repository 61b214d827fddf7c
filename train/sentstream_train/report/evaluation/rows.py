"""Table rows and sentences about an evaluation, for the page and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.report.words import NOTHING, Data, count, interval, percent

#: Slices with fewer rows say little and are paler on the page.
FEW_ROWS = 30
#: Texts are cut to this many characters; --json has all of them.
_MOST_CHARS = 280
#: A temperature this close to 1 has no visible effect.
_AS_GOOD_AS_1 = 0.02

SLICE_HEAD = ("rows", "accuracy", "95 % interval", "macro-recall", "mean score")
COVERAGE_HEAD = ("abstain below", "rows kept", "share", "accuracy", "95 % interval", "macro-recall")
ERROR_HEAD = ("row", "label", "predicted", "score", "P(label)")


def slice_groups(slices: Sequence[Data]) -> dict[str, list[Data]]:
    """The slices by group, in their order."""
    groups: dict[str, list[Data]] = {}
    for one in slices:
        groups.setdefault(one["group"], []).append(one)
    return groups


def slice_row(one: Data) -> tuple[str, str, str, str, str, str]:
    """A slice's name and figures."""
    return (
        one["name"],
        count(one["rows"]),
        percent(one["accuracy"]),
        interval(one["interval"]),
        percent(one["macro_recall"]),
        percent(one["score"]),
    )


def coverage_rows(coverage: Data) -> list[tuple[str, str, str, str, str, str]]:
    """The points of a coverage curve."""
    return [
        (
            threshold(point["threshold"]),
            count(point["rows"]),
            percent(point["coverage"], 1),
            percent(point["accuracy"]),
            interval(point["interval"]),
            percent(point["macro_recall"]),
        )
        for point in coverage["points"]
    ]


def threshold(score: float) -> str:
    """A threshold as a value for an option, without trailing zeros."""
    return f"{score:.6f}".rstrip("0").rstrip(".") if score else NOTHING


def coverage_words(coverage: Data) -> str:
    """A sentence about the areas."""
    return (
        f"Area under the curve {percent(coverage['area'])}; {percent(coverage['best_area'])} if every"
        " correct row had a higher score than every wrong one."
    )


def error_table(worst: Sequence[Data]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table of wrong rows; with files if there are several, and texts if there are any."""
    files, texts = len({row["file_number"] for row in worst}) > 1, any("text" in row for row in worst)
    head = (*(("file",) if files else ()), *ERROR_HEAD, *(("text",) if texts else ()))
    rows = [
        (
            *((row["file"],) if files else ()),
            str(row["row"]),  # a position, so no thousands separators
            row["label"],
            row["predicted"],
            percent(row["score"]),
            percent(row["label_probability"]),
            *((_shortened(row.get("text", NOTHING)),) if texts else ()),
        )
        for row in worst
    ]
    return head, rows


def error_words(worst: Sequence[Data], metrics: Data) -> str:
    """A sentence that says which wrong rows are listed."""
    wrong = metrics["rows"] - metrics["correct"]
    of_file = _of_file(worst)
    return (
        f"{count(len(worst))} of {count(wrong)} wrong rows, most confident first; rows{of_file} are numbered"
        " from 0."
    )


def one_sided_rows(versus: Data, name: str) -> list[tuple[str, Sequence[Data]]]:
    """The rows that only one of two models gets right, as pairs of a title and the rows.

    Args:
        versus: The comparison.
        name: The name of the judged model.
    """
    first, second = _names(versus, name)
    parts = (
        (first, second, versus["comparison"]["only_first"], versus["only_first_rows"]),
        (second, first, versus["comparison"]["only_second"], versus["only_second_rows"]),
    )
    return [
        (
            f"Only {right} is correct: {count(len(rows))} of {count(total)} rows{_of_file(rows)}, numbered"
            f" from 0, most confident errors of {wrong} first",
            rows,
        )
        for right, wrong, total, rows in parts
        if rows
    ]


def row_list(rows: Sequence[Data]) -> str:
    """The positions of rows in one line, with files if there are several."""
    files = not _of_file(rows)
    return ", ".join(f"{row['file']} {row['row']}" if files else str(row["row"]) for row in rows)


def _of_file(rows: Sequence[Data]) -> str:
    return f" of {rows[0]['file']}" if len({row["file_number"] for row in rows}) == 1 else ""


def _names(versus: Data, name: str) -> tuple[str, str]:
    """Distinct names for the judged model and the other one."""
    other: str = versus["model"]["name"]
    return ("the evaluated model", "the other") if other == name else (name, other)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARS else f"{line[: _MOST_CHARS - 1]}…"


def model_name(model: Data) -> str:
    """A model's name with version and digest, to distinguish models with the same name."""
    version = f" {model['version']}" if model["version"] else ""
    return f"{model['name']}{version} ({model['digest'].removeprefix('sha256:')[:8]})"


def versus_rows(versus: Data) -> list[tuple[str, str, str, str, str]]:
    """Rows of (figure, the model's, the other's, difference, its interval)."""
    pairs = (
        (
            "accuracy",
            versus["accuracy"],
            versus["comparison"]["difference"],
            versus["comparison"]["interval"],
        ),
        (
            "macro-recall",
            versus["macro_recall"],
            versus["macro_recall_difference"],
            versus["macro_recall_interval"],
        ),
    )
    return [
        (name, percent(first), percent(second), f"{100 * lead:+.2f} %", interval(ends, signed=True))
        for name, (first, second), lead, ends in pairs
    ]


def versus_words(versus: Data, name: str) -> str:
    """The result of a comparison in sentences.

    Args:
        versus: The comparison.
        name: The name of the judged model.
    """
    test, both = versus["mcnemar"], versus["comparison"]
    name, other = _names(versus, name)
    method = test["method"] if test["statistic"] is None else f"{test['method']} {test['statistic']:.2f}"
    labels = f"labels {', '.join(versus['labels'])}"
    without = ", ".join(versus["model"].get("set_aside", ()))
    aside = f" Labels left out for {other}: {without}." if without else ""
    sentence = (
        "such a split is unlikely between equally good models"
        if test["p"] < 0.05
        else "these rows do not tell the two apart"
    )
    return (
        f"On {count(versus['rows'])} rows ({labels}), only {name} is correct on"
        f" {count(both['only_first'])} and only {other} on {count(both['only_second'])}. McNemar's test"
        f" ({method}): p = {test['p']:.3g}; {sentence}.{aside}"
    )


def recalibration_rows(before: Data, after: Data) -> list[tuple[str, str, str]]:
    """Rows of (figure, before, after) the temperature."""
    recalls = [percent(side["macro_recall"]) for side in (before, after) if "macro_recall" in side]
    return [
        *([("macro-recall", recalls[0], recalls[1])] if recalls else []),
        ("calibration error", percent(before["ece"]), percent(after["ece"])),
        ("log loss", f"{before['log_loss']:.4f}", f"{after['log_loss']:.4f}"),
        ("Brier score", f"{before['brier']:.4f}", f"{after['brier']:.4f}"),
    ]


def own_calibration_words(calibration: Data) -> str:
    """A sentence about a judged model's own calibration."""
    return (
        f"Calibrated with a temperature of {calibration['temperature']:.3f}{offsets_words(calibration)},"
        f" fitted to {count(calibration['n'])} rows; the figures are on those rows, after:"
        f" {calibration['after_is']}."
    )


def offsets_words(calibration: Data) -> str:
    """The offsets of a calibration, to follow its temperature; empty if there are none."""
    added = ", ".join(f"{value:+.2f} ({label})" for label, value in calibration.get("offsets", {}).items())
    return f" after offsets of {added}" if added else ""


def recalibration_words(recalibration: Data) -> str:
    """A sentence that says whether a temperature would help."""
    temperature = recalibration["temperature"]
    if temperature is None:
        return f"With a temperature: {recalibration['method']}."
    if abs(temperature - 1) < _AS_GOOD_AS_1:
        sure = "well calibrated"
    else:
        sure = "overconfident" if temperature > 1 else "underconfident"
    return f"A temperature of {temperature:.3f} (the model is {sure}), {recalibration['method']}."
