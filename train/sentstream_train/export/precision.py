"""Measure and limit what an int8 recurrence changes, compared with the same network in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentstream.bundle import Bundle
from sentstream.errors import DataError, ParityError
from sentstream.session import Session
from sentstream.text import Encoded
from sentstream_train.data.labeled import read_labeled
from sentstream_train.export.parity import probability_differences
from sentstream_train.measure.metrics import measure

#: Maximum share of labels that may change.
MOST_CHANGED = 0.005
#: Maximum loss of accuracy and of macro-recall on a labeled file, beyond what chance explains.
MOST_LOST = 0.002
#: A loss of fewer standard errors is chance: of the few rows that change, some happen to have been right.
CHANCE = 2.0


def measure_int8(
    draft: Bundle,
    session: Session,
    before: Session,
    rows: Encoded,
    kind: str,
    files: Mapping[str, Path],
    *,
    rounded: bool,
) -> dict[str, Any]:
    """Compare a network in int8 with the same network in fp32.

    Args:
        draft: The bundle in int8; it need not be sealed.
        session: The session of ``draft``.
        before: The session of the network in fp32, with the same tables.
        rows: Token ids of real tweets.
        kind: A description of ``rows``, for the record.
        files: Labeled files by name, for accuracy and macro-recall.
        rounded: Whether this export rounded weights. If not, the source model was int8 already and passed
            the check then; there is nothing to check, because nobody used its weights in fp32.

    Returns:
        Facts for the bundle: how far probabilities moved on all rows together, how many labels changed, the
        limits if weights were rounded, and the same figures for ``rows`` and each file.

    Raises:
        ParityError: More changes than ``MOST_CHANGED`` and ``MOST_LOST`` allow.
        SentstreamError: As ``read_labeled``.
    """
    measured = [
        {"of": kind, **probability_differences(session.probabilities(rows), before.probabilities(rows))}
    ]
    measured += [{"of": name, **_on_file(draft, session, before, path)} for name, path in files.items()]
    total = sum(one["rows"] for one in measured)
    changed = sum(one["labels_changed"] for one in measured)
    if rounded:
        _check(measured, changed, total)
    return {
        "against": f"the same {'network' if rounded else 'weights'} in fp32",
        "max_abs_difference": max(one["max_abs_difference"] for one in measured),
        "mean_abs_difference": sum(one["rows"] * one["mean_abs_difference"] for one in measured) / total,
        "labels_changed": changed,
        "rows": total,
        **({"most_changed": MOST_CHANGED, "most_lost": MOST_LOST} if rounded else {}),
        "on": measured,
    }


def _check(measured: Sequence[Mapping[str, Any]], changed: int, total: int) -> None:
    """Raise ``ParityError`` if more changes than allowed."""
    if changed > max(1, MOST_CHANGED * total):
        raise _refuse(f"changes {changed:,} of {total:,} labels", f"{MOST_CHANGED:.1%} of them are")
    for one in measured:
        for figure in ("accuracy", "macro_recall"):
            lost = one.get(f"{figure}_fp32", 0) - one.get(f"{figure}_int8", 0)
            allowed = MOST_LOST + CHANCE * one.get(f"{figure}_standard_error", 0)
            if lost > allowed:
                problem = f"loses {100 * lost:.2f} points of {figure.replace('_', '-')} on {one['of']}"
                raise _refuse(problem, f"{100 * allowed:.2f} are")


def _on_file(draft: Bundle, session: Session, before: Session, path: Path) -> dict[str, Any]:
    data = read_labeled(path, labels=draft.labels)
    rows = draft.text.encode(data.text)
    used = rows.lengths > 0
    if not used.any():
        raise DataError(f"{path} has no text to compare on")
    found: dict[str, Any] = {}
    tables = {"int8": session.probabilities(rows), "fp32": before.probabilities(rows)}
    right = {}
    for name, table in tables.items():
        labels = table[used].argmax(axis=1).astype(np.int32)
        figures = measure(data.label[used], labels, draft.labels)
        found |= {f"accuracy_{name}": figures.accuracy, f"macro_recall_{name}": figures.macro_recall}
        right[name] = (labels == data.label[used]).astype(np.int8)
    changed = right["int8"] != right["fp32"]
    counts = np.bincount(data.label[used], minlength=len(draft.labels))
    recalls = 1 / (np.count_nonzero(counts) * counts[data.label[used]])  # what a row adds to macro-recall
    found["accuracy_standard_error"] = float(np.sqrt(changed.sum()) / len(changed))
    found["macro_recall_standard_error"] = float(np.sqrt((recalls[changed] ** 2).sum()))
    return {**probability_differences(tables["int8"], tables["fp32"]), **found}


def _refuse(problem: str, allowed: str) -> ParityError:
    return ParityError(
        f"int8 {problem}, but only {allowed} allowed", hint="nothing was written; leave out --precision int8"
    )
