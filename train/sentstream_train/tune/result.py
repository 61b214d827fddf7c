"""The result of a search, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sentstream_train.config import ARCHITECTURES, FitConfig, NetworkConfig, to_dict
from sentstream_train.tune.space import Values

Metric = Literal["accuracy", "macro-recall"]


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial.

    Attributes:
        number: The trial's position in the search, from 0; trial 0 is the starting point.
        state: ``complete``, ``pruned`` (stopped early after an epoch) or ``failed``.
        score: The validation score, for a pruned trial its last one; None: failed.
        scores: The score after each epoch.
        seconds: The trial's duration.
        settings: The settings that vary.
        note: Why it failed.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    score: float | None
    scores: tuple[float, ...]
    seconds: float
    settings: Values
    note: str | None = None


@dataclass(frozen=True)
class Search:
    """A search so far.

    Attributes:
        study: The contents of ``study.json``: data, space, starting point, metric.
        tried: The finished trials, in order.
        interrupted: How many trials a kill, Ctrl-C or the time limit interrupted; they are started again.
        best: The best complete trial; None: there is none yet.
        network, fitting: The best trial's settings, or the starting point's.
        folder: The folder of the best trial's run.
        rows: How many rows were used and left out.
    """

    study: dict[str, Any]
    tried: tuple[FinishedTrial, ...]
    interrupted: int
    best: FinishedTrial | None
    network: NetworkConfig
    fitting: FitConfig
    folder: str
    rows: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready data."""
        best = None
        if self.best is not None:
            best = {
                "number": self.best.number,
                "score": self.best.score,
                "architecture": to_dict(self.network),
                "training": to_dict(self.fitting),
                "train_options": train_options(self.network, self.fitting),
                "folder": self.folder,
            }
        return {
            **self.study,
            "rows": self.rows,
            "trials": [asdict(one) for one in self.tried],
            "interrupted": self.interrupted,
            "best": best,
        }


def best_of(tried: Sequence[FinishedTrial]) -> FinishedTrial | None:
    """The complete trial with the highest score; the first one if several are equal."""
    complete = [one for one in tried if one.state == "complete"]
    return max(complete, key=lambda one: one.score or 0.0) if complete else None


def train_options(network: NetworkConfig, fitting: FitConfig) -> list[str]:
    """The options of ``sentstream train`` for these settings."""
    options: list[str] = []
    for mine, usual in ((network, ARCHITECTURES["pairs"]), (fitting, FitConfig())):
        for name, value in vars(mine).items():
            option = f"--{name.replace('_', '-')}"
            if value == getattr(usual, name):
                continue
            if name == "bidirectional":
                options.append(option)
            elif isinstance(value, tuple):
                options += [option, ",".join(map(str, value))]
            else:
                options += [option, str(value)]
    return options
