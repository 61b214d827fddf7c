"""From the contenders' output to figures: a ratio per round, the median, the spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Rounds = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Figure:
    """A figure that is kept.

    Attributes:
        name: Its name in the history.
        title: Its name in tables.
        value: The median of the rounds.
        low, high: Their minimum and maximum.
        kind: ``ratio`` (× as much), ``share`` (1 is all), ``points`` (of 100), ``mb``.
        bar: What it should reach, or not exceed; None: for information only.
        more: Whether more is better.
        ours, theirs: The medians that are compared, if any.
        unit: The unit of these two.
    """

    name: str
    title: str
    value: float
    low: float
    high: float
    kind: Literal["ratio", "share", "points", "mb"]
    bar: float | None = None
    more: bool = True
    ours: float | None = None
    theirs: float | None = None
    unit: str = "rows/s"

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.more else self.value <= self.bar

    def kept(self) -> dict[str, Any]:
        """Return what the history stores."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "title")}


@dataclass(frozen=True)
class Comparison:
    """Two contenders, and what is compared.

    Attributes:
        name: Its name for ``--only``.
        title: ``ours ÷ theirs``, in words.
        ours, theirs: Names of contenders.
        bar: What the ratio should reach.
        kind: How it is shown.
        field: The key in the contenders' output.
        unit: Its unit.
    """

    name: str
    title: str
    ours: str
    theirs: str
    bar: float | None
    kind: Literal["ratio", "share"] = "ratio"
    field: str = "rows_per_second"
    unit: str = "rows/s"

    def figure(self, rounds: Rounds) -> Figure:
        """Return the figure of rounds in which both took part, one after the other."""
        ours, theirs = ([one[self.field] for one in rounds[name]] for name in (self.ours, self.theirs))
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        return Figure(
            self.name,
            self.title,
            statistics.median(ratios),
            min(ratios),
            max(ratios),
            self.kind,
            self.bar,
            ours=statistics.median(ours),
            theirs=statistics.median(theirs),
            unit=self.unit,
        )


#: In table order.
COMPARISONS = (
    Comparison(
        "gemm",
        "inference alone ÷ fp32 GEMM of the same shapes",
        *("inference", "gemm", 0.70, "share", "gflops", "GFLOP/s"),
    ),
    Comparison("end-to-end", "Parquet to Parquet ÷ inference alone", "score", "inference", 0.75, "share"),
    Comparison("keras", "Parquet to Parquet ÷ Keras predict, padded ids", "score", "keras", 4.0),
    Comparison("keras-sorted", "… ÷ the same, sorted by length first", "score", "keras-sorted", None),
    Comparison("tf2onnx", "… ÷ tf2onnx's graph, padded ids, ONNX Runtime", "score", "tf2onnx", 5.0),
    # Third-party models: they must be exact, and no slower than in Keras.
    Comparison("padded", "a padded bundle ÷ Keras predict", "score-padded", "keras-padded", 1.0),
    Comparison(
        "converted", "tf2onnx's bundle, padded ÷ Keras predict", "score-converted", "keras-converted", 1.0
    ),
    Comparison(
        "converted-masked",
        "tf2onnx's bundle, masked ÷ Keras predict",
        *("score-converted-masked", "keras-converted-masked", 1.0),
    ),
    Comparison("vader", "… ÷ VADER, one process per core", "score", "vader", 2.0),
    Comparison("fasttext", "… with tweets-small ÷ fastText predict", "score-small", "fasttext", 1.0),
    Comparison("tokenizing", "tokenizing ÷ HF tokenizers, same rules", "text", "tokenizers", 4.0),
    Comparison("threads", "two threads ÷ one thread", "two-threads", "one-thread", 1.85),
    # What the machine can give at the moment: two cores that others use, too, are not twice one.
    Comparison(
        "threads-gemm",
        "… the same for fp32 GEMM: the machine's limit",
        *("gemm-two-threads", "gemm-one-thread", None, "ratio", "gflops", "GFLOP/s"),
    ),
)


def accuracy_figures(accuracy: Mapping[str, Any]) -> list[Figure]:
    """Return the points by which tweets-small beats fastText on the same rows."""
    figures = []
    for name, measure, rows in (
        ("semeval", "macro_recall", "SemEval validation, macro-recall"),
        ("sentiment140", "accuracy", "Sentiment140 test, accuracy"),
    ):
        ours, theirs = (100 * value for value in accuracy[name][measure])
        title = f"tweets-small − fastText, {rows}"
        gain = ours - theirs
        figures.append(
            Figure(f"accuracy-{name}", title, gain, gain, gain, "points", 0.0, True, ours, theirs, "%")
        )
    return figures


def text_share(rounds: Rounds) -> Figure:
    """Return the share of the text path in the CPU time of ``score``."""
    shares = [
        (text["cpu_seconds"] / text["rows"]) / (whole["cpu"] / whole["rows"])
        for text, whole in zip(rounds["text"], rounds["score"], strict=True)
    ]
    title = "tokenizing and lookup, share of the CPU time of score"
    low, high = min(shares), max(shares)
    return Figure("text-share", title, statistics.median(shares), low, high, "share", more=False)
