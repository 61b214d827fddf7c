"""The stages of a fine-tuning; the result of a stage is kept only if it is better than before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import keras

from sentstream.errors import CheckpointError, UsageError
from sentstream_train.config import FitConfig
from sentstream_train.data.batches import Examples
from sentstream_train.fit.epochs import History, Progress, fit
from sentstream_train.measure.improvement import (
    CERTAIN,
    LIKELY,
    Probabilities,
    errors_above_guess,
    reason_not_better,
)
from sentstream_train.network.keras_file import load_keras
from sentstream_train.network.predict import keras_probabilities
from sentstream_train.runs.result import OnEpoch, TrainResult, finish, overfitting
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import FineTuning, RunRecord, StageResult

Thaw = Literal["chain", "gradual", "head", "all"]


@dataclass(frozen=True)
class Stage:
    """A stage of a fine-tuning and the layers that it trains."""

    name: str
    layers: frozenset[str]


def plan_stages(layers: Sequence[str], thaw: Thaw) -> list[Stage]:
    """The stages of a fine-tuning.

    Args:
        layers: Names of the layers with weights, first to last.
        thaw: ``"chain"``: the head, then each layer alone from the first, then all (chain-thaw, Felbo
            et al. 2017). ``"gradual"``: the head, then one layer more at a time from the last (gradual
            unfreezing, Howard & Ruder 2018). ``"head"``: the head only. ``"all"``: everything at once.
    """
    head, body = layers[-1], list(layers[:-1])
    everything = Stage("all", frozenset(layers))
    if thaw == "all":
        return [everything]
    stages = [Stage(head, frozenset({head}))]
    if thaw == "chain":
        stages += [Stage(name, frozenset({name})) for name in body] + [everything]
    elif thaw == "gradual":
        stages += [
            Stage(f"{name} and later", frozenset(layers[len(body) - 1 - k :]))
            for k, name in enumerate(body[::-1])
        ]
    elif thaw != "head":
        raise UsageError(f"--thaw must be chain, gradual, head or all, not {thaw!r}")
    return stages


@dataclass
class Tuner:
    """Trains a model stage by stage.

    Attributes:
        results: Results of the finished stages.
        history: The curve over all finished stages.
        kept: The epoch, counted over all stages, whose weights the model has; 0: the original weights.
        warnings: Warnings for the user, one line each.
        errors: By how many standard errors a stage's macro-recall must exceed a guess.
    """

    folder: RunFolder
    model: keras.Sequential
    sides: tuple[Examples, Examples]
    fitting: FitConfig
    plan: FineTuning
    names: Sequence[str]
    new_labels: bool
    progress: Progress | None
    on_epoch: OnEpoch | None

    def __post_init__(self) -> None:
        self.results: list[StageResult] = []
        self.history, self.kept = History(), 0
        self.warnings: list[str] = []
        self.errors = 0.0 if self.new_labels else self._needed()
        if self.folder.stages.exists():
            self._restore()

    def run(self, stages: Sequence[Stage]) -> None:
        """Run the remaining stages."""
        if len(self.results) == len(stages):
            return
        predicted = self._validation_probabilities()
        for stage in stages[len(self.results) :]:
            predicted = self._stage(stage, predicted)

    def _needed(self) -> float:
        """By how many standard errors a stage's macro-recall on the held-out rows must exceed a guess.

        Before any training, the training rows are evidence, too. If a model that has their labels does no
        better on them than a guess, the labels are unrelated to the texts, or mean something else than what
        the model has learned.
        """
        train = self.sides[0]
        if errors_above_guess(keras_probabilities(self.model, train.rows), train.classes()) > LIKELY:
            return LIKELY
        self.warnings.append(
            f"the original model is no better than guessing on the {len(train):,} training rows:"
            " are their labels right?"
        )
        return CERTAIN

    def _validation_probabilities(self) -> Probabilities:
        return keras_probabilities(self.model, self.sides[1].rows)

    def _stage(self, stage: Stage, predicted: Probabilities) -> Probabilities:
        """Run one stage.

        Takes the model's probabilities for the held-out rows before the stage; returns those after it.
        """
        model, validation = self.model, self.sides[1]
        before = model.get_weights()
        for layer in model.layers:
            layer.trainable = layer.name in stage.layers
        last = len(self.names) - 1
        depth = {name: self.plan.layer_decay ** (last - index) for index, name in enumerate(self.names)}
        factors = [depth[layer.name] for layer in model.layers for _ in layer.trainable_variables]
        on_epoch = self.on_epoch
        part = fit(
            model,
            *self.sides,
            self.fitting,
            self.folder,
            resume=self.folder.state.exists(),
            from_start=True,
            rate_factors=factors if self.fitting.optimizer == "adam" else None,
            progress=self.progress,
            after_epoch=(lambda _, epoch: on_epoch(stage.name, epoch)) if on_epoch else None,
        )
        kept, why = part.kept_epoch(self.fitting), "no lower loss"
        if kept:
            after = self._validation_probabilities()
            why = reason_not_better(
                predicted, after, validation.classes(), validation.weights, errors=self.errors
            )
            if why:
                model.set_weights(before)
                kept = 0
            else:
                predicted = after
        number, done = len(self.results) + 1, self.history.done
        result = StageResult(stage.name, part.done, kept, part.figures(0), part.figures(kept), why)
        self.results.append(result)
        self.kept = done + kept if kept else self.kept
        self.history.epochs += [
            {"stage": number, **epoch, "epoch": done + index}
            for index, epoch in enumerate(part.epochs, start=1)
        ]
        remedy = "more rows, a lower --learning-rate or --thaw head"
        self.warnings += [
            f"stage {stage.name}: {line}" for line in overfitting(part, self.fitting.patience, remedy)
        ]
        self._keep(part.done)
        return predicted

    def _keep(self, epochs: int) -> None:
        """Save the weights after a stage. If killed here, a resumed run repeats the stage."""
        folder, number = self.folder, len(self.results)
        folder.save_model(self.model, folder.stage(number))
        folder.state.unlink()
        folder.write_json(
            folder.stages,
            {
                "results": [asdict(result) for result in self.results],
                "epochs": self.history.epochs,
                "kept": self.kept,
                "warnings": self.warnings,
            },
        )
        folder.checkpoint(epochs).unlink(missing_ok=True)
        folder.best.unlink(missing_ok=True)
        folder.stage(number - 1).unlink(missing_ok=True)

    def _restore(self) -> None:
        """Load the stages that an earlier process finished."""
        state = self.folder.read_json(self.folder.stages)
        if "results" not in state:
            raise CheckpointError(
                f"the fine-tuning in {self.folder.path} was started by an earlier version",
                hint="start over in another --output",
            )
        self.results = [StageResult.from_dict(result) for result in state["results"]]
        self.history, self.kept = History(list(state["epochs"])), int(state["kept"])
        self.warnings = list(state["warnings"])
        self.model.set_weights(load_keras(self.folder.stage(len(self.results))).get_weights())

    def finish(self, record: RunRecord) -> TrainResult:
        """Save the model and the record of all stages."""
        folder = self.folder
        for layer in self.model.layers:
            layer.trainable = True
        folder.write_log(self.history.epochs)
        warnings = self.warnings
        if not self.kept:
            warnings = [
                "no stage was better on the held-out rows than the original model, which is kept:"
                " check the labels, give more rows, or try another --learning-rate",
                *warnings,
            ]
        self.history.best_epoch = self.kept
        record = replace(record, stages=tuple(self.results))
        result = finish(folder, self.model, self.history, self.kept, self.results[-1].after, record, warnings)
        folder.stage(len(self.results)).unlink(missing_ok=True)
        folder.stages.unlink(missing_ok=True)
        return result
