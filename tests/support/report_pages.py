"""Pages of every kind, from figures as the commands print them, for tests that view or parse them."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.analyze import analyze
from sentstream.report.explanation import explanation_page
from sentstream.report.sentiment.page import sentiment_page
from sentstream_train.report.calibration import calibration_page
from sentstream_train.report.evaluation.page import evaluation_page
from sentstream_train.report.inspection import inspection_page
from sentstream_train.report.search.page import search_page

HOSTILE = "<img src=x onerror=alert(1)>&\"'[red]\x1b[31m\u202e\n"


def metrics(labels: list[str], *, calibrated: bool = True) -> dict[str, Any]:
    size = len(labels)
    confusion = [[30 if row == column else 10 for column in range(size)] for row in range(size)]
    bins = [
        {
            "low": index / 15,
            "high": (index + 1) / 15,
            "rows": rows,
            "confidence": (index + 0.5) / 15 if rows else None,
            "accuracy": (index - 1) / 15 if rows else None,
        }
        for index, rows in enumerate([0] * 7 + [5, 8, 13, 21, 34, 55, 89, 144])
    ]
    return {
        "rows": 30 * size + 10 * size * (size - 1),
        "correct": 30 * size,
        "accuracy": 0.75,
        "interval": [0.7123, 0.7834],
        "macro_recall": 0.74,
        "macro_recall_interval": [0.7011, 0.7777],
        "macro_f1": 0.73,
        "classes": [
            {"label": label, "support": 40, "predicted": 0, "precision": None, "recall": 0.75, "f1": 0.5}
            for label in labels
        ],
        "confusion": confusion,
        "calibration": {"ece": 0.0312, "log_loss": 0.4321, "brier": 0.2468, "bins": bins}
        if calibrated
        else None,
    }


def detail_sections(labels: list[str], name: str, file: str) -> dict[str, Any]:
    """Return slices, coverage, recalibration, errors and comparisons."""
    figures = {"interval": [0.6, 0.8], "macro_recall": 0.7, "score": 0.85}
    error = {"file_number": 0, "label": labels[0], "predicted": labels[1], "label_probability": 0.02}
    return {
        "slices": [
            {"group": "texts with", "name": "negation", "rows": 75, "accuracy": 0.7, **figures},
            {"group": "texts with", "name": "emoji", "rows": 3, "accuracy": 1.0, **figures},
            {"group": name, "name": labels[0], "rows": 1200, "accuracy": 0.72, **figures},
        ],
        "coverage": {
            "area": 0.9123,
            "best_area": 0.9678,
            "points": [
                {"threshold": 0.0, "rows": 354, "coverage": 1.0, "accuracy": 0.75, **figures},
                {"threshold": 0.58, "rows": 319, "coverage": 0.9011, "accuracy": 0.78, **figures},
                {"threshold": 0.9306, "rows": 36, "coverage": 0.1017, "accuracy": 0.95, **figures},
            ],
        },
        "recalibration": {
            "method": "cross-validated on the same rows (5 folds)",
            "temperature": 1.234,
            "calibration": {**metrics(labels)["calibration"], "ece": 0.0123},
        },
        "worst": [
            {"file": file, "row": 12345, "score": 0.9876, **error},
            {"file": file, "row": 0, "score": 0.91, "text": f"{'so ' * 200}{name}", **error},
        ],
        "comparisons": [
            {
                "model": {"name": f"other {name}", "version": "0.2", "digest": f"sha256:{'12' * 32}"},
                "labels": labels,
                "rows": 354,
                "accuracy": [0.75, 0.72],
                "macro_recall": [0.74, 0.7],
                "comparison": {
                    "only_first": 31,
                    "only_second": 20,
                    "difference": 0.0311,
                    "interval": [-0.0077, 0.0698],
                },
                "macro_recall_difference": 0.04,
                "macro_recall_interval": [-0.001, 0.081],
                "mcnemar": {"method": "chi-squared", "statistic": 1.9608, "p": 0.161},
                "only_first_rows": [
                    {"file": file, "row": index, "score": 0.8, **error} for index in (54321, 7)
                ],
                "only_second_rows": [],
            }
        ],
    }


def evaluation(
    labels: list[str] | None = None, name: str = "tiny", file: str = "test.parquet"
) -> dict[str, Any]:
    labels = labels or ["negative", "positive"]
    return {
        "report": "evaluation",
        "sentstream": "1.2.3",
        "model": {
            "kind": "bundle",
            "name": name,
            "version": "0.1",
            "digest": f"sha256:{'ab' * 32}",
            "labels": labels,
        },
        "files": [{"name": file, "rows": 498, "sha256": "cd" * 32}],
        "rows": {
            "read": 498,
            "without_label": 0,
            "other_labels": {labels[0]: 3},
            "unknown_labels": {"neutral": 139},
            "repeated": 0,
            "blank": 2,
            "judged": 354,
        },
        "metrics": metrics(labels),
        **detail_sections(labels, name, file),
        "baselines": [
            {
                "name": "VADER",
                "method": "lexicon; by sign, 0 is positive (46 rows score exactly 0)",
                "metrics": {**metrics(labels, calibrated=False), "accuracy": 0.7, "interval": [0.65, 0.74]},
                "comparison": {
                    "only_first": 9,
                    "only_second": 4,
                    "difference": 0.05,
                    "interval": [0.01, 0.09],
                },
            },
            {"name": "TextBlob", "method": f"skipped: {labels[0]}", "metrics": None, "comparison": None},
        ],
    }


def calibration() -> dict[str, Any]:
    """Return what ``calibrate --json`` prints."""
    judged, before = evaluation(), metrics(["negative", "positive"])["calibration"]
    return {
        "report": "calibration",
        "sentstream": "1.2.3",
        "labels": ["negative", "positive"],
        "temperature": 1.25,
        "n": 354,
        "before": before,
        "after": {**before, "ece": 0.01},
        "after_is": "cross-validated in 5 folds",
        "rows": judged["rows"],
        "data": judged["files"],
        "model": {"name": "tiny", "fingerprint": f"sha256:{'ab' * 32}"},
    }


def mixture() -> dict[str, Any]:
    """Return what it prints for several files."""
    one = calibration()
    sides = {
        side: {key: one[side][key] for key in ("ece", "log_loss", "brier")} for side in ("before", "after")
    }
    names = ("validation.parquet", "other.parquet")
    files = [{"name": name, "n": 177, "temperature": 1.31, **sides} for name in names]
    return {
        **one,
        "after_is": "mean of 2 files, each at the temperature that the others give",
        "files": files,
    }


def inspection(label: str = "negative", file: str = "train.parquet", word: str = "sad") -> dict[str, Any]:
    lengths = {
        "rows": 90,
        "mean": 14.25,
        **{
            name: index
            for index, name in enumerate(("min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max"))
        },
        "histogram": {"bin_width": 2, "rows": [0, 3, 50, 30, 7]},
    }
    repeats = {"texts": 4, "rows": 1234, "conflicting_texts": 1, "conflicting_rows": 2}
    marking = {"word": word, "z": 12.3, "count": 40, "elsewhere": 2}
    return {
        "report": "inspection",
        "sentstream": "1.2.3",
        "files": [{"name": file, "rows": 103, "sha256": "ef" * 32}],
        "rows": {
            "read": 103,
            "without_label": 3,
            "other_labels": 0,
            "inspected": 100,
            "null": 4,
            "written_missing": 0,
            "empty": 6,
            "wordless": 0,
            "broken_utf8": 0,
            "truncated": 1,
        },
        "max_chars": 1000,
        "labels": [
            {"label": label, "rows": 60, "share": 0.6},
            {"label": "positive", "rows": 40, "share": 0.4},
        ],
        "lengths": {"characters": lengths, "tokens": lengths},
        "vocabulary": {
            "tokens": 1300,
            "types": 400,
            "types_seen_once": 300,
            "coverage": [{"size": 5000, "tokens": 0.9, "types": 0.5, "rarest_count": 3}],
            "most_frequent": [{"word": "the", "share": 0.05}, {"word": word, "share": 0.02}],
        },
        "duplicates": {"exact": repeats, "same_text": repeats},
        "users": {"users": 7, "rows_with_a_user": 0.5, "most_rows_of_one": 3, "users_with_one_row": 2},
        "contents": {"links": 0.25, "emoji": 0.0},
        "frequent_words": {label: [marking], "positive": []},
        "nltk": {
            "rows": 100,
            "tokens": 1300,
            "types": 400,
            "type_token_ratio": 0.3077,
            "hapaxes": 300,
            "collocations": [{"words": ["new", word], "count": 8, "log_likelihood": 77.5}],
        },
        "rules": {},
    }


def explanation(labels: list[str], token: str = "good", name: str = "tiny") -> dict[str, Any]:
    """Return a tweet whose words support one label after the other, ever less, and one without a label."""
    size = len(labels)
    whole = [1 / size] * size
    steps = []
    for index, gain in zip(range(size), itertools.cycle((0.4, 0.15, 0.05, 0.0)), strict=False):
        without = [share + gain / max(1, size - 1) for share in whole]
        without[index] = whole[index] - gain
        effect = whole[0] - without[0]
        steps.append(
            {
                "token": token,
                "known": index != 1,
                "probabilities": whole,
                "without": without,
                "effect": effect,
            }
        )
    tweet = {"text": token, "label": labels[0], "score": whole[0], "steps": steps, "truncated": True}
    blank = {"text": " ", "label": None, "score": None, "steps": [], "truncated": False}
    return {
        "sentstream": "1.2.3",
        "model": {"name": name, "version": "0.1", "digest": f"sha256:{'ab' * 32}"},
        "labels": labels,
        "tweets": [tweet, blank],
    }


def search(name: str = "loss") -> dict[str, Any]:
    """Return what ``tune --json`` prints: trials that are complete, pruned and failed."""
    settings = {"units": 96, "cell": "simple", "bidirectional": False, "dropout": 0.4, "learning_rate": 0.002}
    first = {"number": 0, "state": "complete", "score": 0.75, "scores": [0.7, 0.75], "seconds": 61.25}
    trials: list[dict[str, Any]] = [
        {**first, "settings": settings, "note": None},
        {**first, "number": 1, "score": 0.78, "settings": {**settings, "cell": "gru"}, "note": None},
        {**first, "number": 2, "state": "pruned", "score": 0.55, "scores": [0.55], "settings": settings},
        {**first, "number": 3, "state": "failed", "score": None, "scores": [], "settings": settings},
    ]
    trials[2]["note"], trials[3]["note"] = None, name
    return {
        "sentstream": "1.2.3",
        "metric": "accuracy",
        "data": [{"name": f"{name}.csv", "rows": 1000, "sha256": "cd" * 32}],
        "rows": {"validation": 200},
        "space": {
            "units": [32, 96],
            "cell": ["simple", "gru"],
            "bidirectional": [False, True],
            "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "words": 30_000,
        },
        "trials": trials,
        "interrupted": 1,
        "best": {"number": 1, "score": 0.78, "folder": f"{name}/best", "train_options": ["--cell", "gru"]},
    }


def scored_rows(
    rows: int = 400, *, seed: int = 0, word: str = "grand", model: str = "tiny", **columns: Any
) -> pa.Table:
    """Return rows as ``sentstream score`` writes them, one per hour with a gap, with random probabilities."""
    random = np.random.default_rng(seed)
    labels = ("negative", "neutral", "positive")
    shares = random.dirichlet((0.6, 0.5, 0.7), rows).astype(np.float32)
    best = shares.argmax(axis=1)
    texts = [f"{('awful', 'plain', word)[label]} day number {row}" for row, label in enumerate(best.tolist())]
    hours = np.arange(rows) + np.where(np.arange(rows) > rows // 2, 48, 0)
    return pa.table(
        {
            "created_at": pa.array(hours * 3600, pa.timestamp("s", "UTC")),
            "lang": pa.array(["en", "de", "pt", None]).take(pa.array(np.minimum(3, np.arange(rows) % 7))),
            "text": texts,
            "sentiment": pa.array(labels).take(pa.array(best)),
            "sentiment_score": shares.max(axis=1),
            **{f"sentiment_prob_{label}": shares[:, index] for index, label in enumerate(labels)},
            **columns,
        }
    ).replace_schema_metadata({"sentstream.model": model, "sentstream.model_digest": "sha256:" + "ab" * 32})


def sentiment(name: str = "scored", word: str = "grand", *, models: int = 1) -> dict[str, Any]:
    """Return what ``report --json`` prints, compared with other scores of the same rows."""
    with tempfile.TemporaryDirectory() as folder:
        before, now = Path(folder, f"{name} before"), Path(folder, name)
        for one, seed in ((before, 1), (now, 0)):
            one.mkdir()
            for number in range(models):
                table = scored_rows(seed=seed, word=word, model=f"tiny {number}")
                table = table.set_column(1, "lang", pa.array([name, "en"] * (len(table) // 2)))
                table = table.set_column(2, "text", scored_rows(word=word)["text"])
                pq.write_table(table, one / f"{number}.parquet")
        analysis = analyze(now, compare=before, time_column="created_at", by=["lang"]).to_dict()
    return {**analysis, "sentstream": "1.2.3", "where": f"lang = '{name}'"}


PAGES = {
    "sentiment": sentiment_page(sentiment(models=2)),
    "hostile sentiment": sentiment_page(sentiment(HOSTILE, HOSTILE)),
    "calibration": calibration_page(calibration()),
    "calibration of several files": calibration_page(mixture()),
    "evaluation": evaluation_page(evaluation()),
    "three labels": evaluation_page(evaluation(["negative", "neutral", "positive"])),
    "hostile evaluation": evaluation_page(evaluation([HOSTILE, "ok"], HOSTILE, HOSTILE)),
    "inspection": inspection_page(inspection()),
    "hostile inspection": inspection_page(inspection(HOSTILE, HOSTILE, HOSTILE)),
    "search": search_page(search()),
    "hostile search": search_page(search(HOSTILE)),
    "explanation": explanation_page(explanation(list("abcdef"))),
    "hostile explanation": explanation_page(explanation([HOSTILE, "ok"], HOSTILE, HOSTILE)),
}
