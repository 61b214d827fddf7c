"""Compare scored rows with the rows held out in the training of their model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sentstream.analyze.intervals import difference_interval
from sentstream.analyze.knowledge import Knowledge
from sentstream.analyze.result import AgainstTraining, Drift, ShareChange
from sentstream.analyze.scored import ModelName
from sentstream.bundle import Bundle
from sentstream.drift.distances import jensen_shannon, stability_index
from sentstream.drift.distribution import LEAST_TEXTS, Distribution


def against_training(
    models: Sequence[ModelName], knowledge: Knowledge, seen: Distribution
) -> AgainstTraining:
    """Return how far rows differ from the model's held-out training rows, or why that is unknown.

    Args:
        models: The model of each file.
        knowledge: What is known about the first model.
        seen: The counts of the rows, with labels as without ``abstain``.
    """
    held_out = None if knowledge.bundle is None else knowledge.bundle.reference
    source, why = None if held_out is None else str(held_out), _why_not(models, knowledge.bundle, seen)
    if held_out is None or why is not None:
        return AgainstTraining(source, why, (), ())
    drift = tuple(
        Drift(name, stability_index(*both), jensen_shannon(*both))
        for name, both in held_out.texts.cells(seen).items()
    )
    return AgainstTraining(source, None, tuple(_shares(held_out.texts, seen)), drift)


def _why_not(models: Sequence[ModelName], bundle: Bundle | None, seen: Distribution) -> str | None:
    if len({one.digest for one in models}) > 1:
        return "several models scored these rows: report them separately"
    if bundle is None and models[0].name is None:
        return "the files do not record which model scored them: give its bundle with --model"
    if bundle is None:
        return f"the bundle of {models[0].name} that scored them was not found: give it with --model"
    if bundle.reference is None:
        return (
            f"the bundle of {bundle.name} has no reference: sentstream export-onnx writes one for a run"
            f" that held out at least {LEAST_TEXTS:,} rows"
        )
    if set(bundle.labels) != set(seen.labels):
        return f"the bundle of {bundle.name} has different labels: it did not score these rows"
    if seen.texts < LEAST_TEXTS:
        return (
            f"{seen.texts:,} labeled rows are too few: below {LEAST_TEXTS:,}, differences are mostly chance"
        )
    return None


def _shares(before: Distribution, after: Distribution) -> Iterator[ShareChange]:
    for label, count in before.labels.items():
        first, second = (count, before.texts), (after.labels.get(label, 0), after.texts)
        shares = first[0] / first[1], second[0] / second[1]
        yield ShareChange(label, *shares, shares[1] - shares[0], difference_interval(first, second))
