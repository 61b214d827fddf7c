"""A hyperparameter search within a budget: the function behind ``sentstream tune``."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import tensorflow as tf
from optuna.trial import TrialState

import sentstream
from sentstream.errors import DataError, TrainingError, UsageError
from sentstream_train.config import ANY_COLUMNS, Columns, DataConfig, FitConfig, NetworkConfig, to_dict
from sentstream_train.data.batches import Examples
from sentstream_train.data.split import Split
from sentstream_train.fit.distill import NOBODY, Teachers
from sentstream_train.fit.epochs import Progress, fit
from sentstream_train.fit.targets import Taught, lessons
from sentstream_train.measure.metrics import measure
from sentstream_train.network.model import build_model
from sentstream_train.network.predict import keras_probabilities
from sentstream_train.runs.preparation import Prepared, describe, prepare
from sentstream_train.runs.result import finish
from sentstream_train.store.folder import HeldOutRows
from sentstream_train.store.record import Settings, Teacher, TrialScore
from sentstream_train.tune.result import Metric, Search, best_of
from sentstream_train.tune.rows import Rows
from sentstream_train.tune.space import DEFAULT_SPACE, Space, Start, apply, start_within
from sentstream_train.tune.study import (
    STUDY_FORMAT,
    StudyFolder,
    begin_again,
    interrupted,
    sampler,
    tried,
)

#: Called after each trial with the search so far.
AfterTrial = Callable[[Search], None]


class _OutOfTime(Exception):
    """The time limit was reached during a trial."""


def tune(
    paths: Sequence[str | Path],
    output: Path,
    *,
    space: Space = DEFAULT_SPACE,
    network: NetworkConfig,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns = ANY_COLUMNS,
    labels: Sequence[str] | None = None,
    teachers: Teachers = NOBODY,
    without: Sequence[str | Path] = (),
    metric: Metric | None = None,
    trials: int = 30,
    seconds: float | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    after_trial: AfterTrial | None = None,
) -> Search:
    """Search for the settings with the best score on held-out rows; keep the best run as ``output/best``.

    Args:
        paths: CSV or Parquet files of labeled rows.
        output: The search's folder; without ``resume`` it must not hold anything yet.
        space: The settings that vary, and their values.
        network, fitting: The starting point, which is trial 0, and the settings that do not vary.
        data: How rows become examples.
        columns: The columns of text, label and user.
        labels: Use only the rows with these labels; the classes have this order.
        teachers: Teachers whose probabilities are learned in addition to the labels, in every trial.
        without: Files of held-out texts; rows that repeat one are left out.
        metric: The score on the held-out rows; None: accuracy for two labels, else macro-recall.
        trials: Total number of trials, including those before a resume.
        seconds: Time limit; a trial that it interrupts is started again by a resume.
        resume: Resume the search in ``output``; only ``trials`` and ``seconds`` may differ.
        progress: Called after every batch.
        after_trial: Called after every trial.

    Raises:
        OutputExistsError: ``output`` is not empty and ``resume`` is not set.
        CheckpointError: ``output`` has no search, or another one.
        DataError: The rows cannot be used.
        UsageError: The space does not include the starting point, or does not fit the rows.
        TrainingError: No trial produced a model.
    """
    begun = time.monotonic()
    start = apply((network, fitting), space.fixed)
    start_within(space, start)
    folder = StudyFolder(Path(output))
    earlier = folder.read_settings() if resume else None
    if earlier is None:
        folder.claim()
    else:  # keep the version of same_text that the search started with
        data = replace(data, same_text=earlier["preparation"].setdefault("same_text", 1))
    with folder.alone():
        settings = Settings(*start, data, columns, None if labels is None else tuple(labels))
        prepared = prepare(paths, settings, without=without, teachers=teachers)
        taught, names = prepared.taught(teachers, settings) if teachers else (None, ())
        study = {
            "format": STUDY_FORMAT,
            "labels": list(prepared.labels),
            "data": [source.to_dict() for source in prepared.sources],
            "held_out": [asdict(file) for file in prepared.held_out],
            "space": space.to_dict(),
            "network": to_dict(start[0]),
            "fitting": to_dict(start[1]),
            "preparation": to_dict(data),
            "columns": asdict(columns),
            "only_labels": list(labels) if labels is not None else None,
            "teachers": [asdict(teacher) for teacher in names],
            "metric": metric or ("accuracy" if len(prepared.labels) < 3 else "macro-recall"),
            "sentstream": sentstream.__version__,
        }
        if earlier is not None:
            folder.check_same(earlier, study)
        _check_split(prepared.split, space.largest("batch_size", start), taught=bool(teachers))
        if earlier is None:
            folder.write_settings(study)
        searcher = _Searcher(
            folder=folder,
            about=earlier or study,
            study=folder.open(),
            space=space,
            start=start,
            prepared=prepared,
            settings=settings,
            taught=taught,
            teachers=names,
            rows=Rows(
                prepared.split,
                data,
                words=space.largest("words", start),
                pairs=bool(space.largest("pairs", start)),
            ),
            deadline=math.inf if seconds is None else begun + seconds,
            progress=progress,
        )
        return searcher.search(trials, after_trial)


def _check_split(split: Split, batch_size: int, *, taught: bool) -> None:
    for side, labels in (("to train on", split.train_labels), ("held out", split.validation_labels)):
        if len(np.unique(labels)) < 2 and not taught:  # teachers may have labels that the rows do not have
            raise DataError(
                f"the {len(labels):,} rows {side} have only one label",
                hint="give more data, or another --seed",
            )
    if batch_size > len(split.train_labels):
        raise UsageError(
            f"a batch of {batch_size:,} rows is more than the {len(split.train_labels):,} to train on",
            hint="give more data, or a batch_size in --space, e.g. batch_size = 32",
        )


@dataclass
class _Searcher:
    """One process's work on a search."""

    folder: StudyFolder
    about: dict[str, Any]
    study: optuna.Study
    space: Space
    start: Start
    prepared: Prepared
    settings: Settings
    taught: Taught | None
    teachers: tuple[Teacher, ...]
    rows: Rows
    deadline: float
    progress: Progress | None

    def search(self, trials: int, after_trial: AfterTrial | None) -> Search:
        self.folder.settle(self.study)
        if not self.study.trials:
            self.study.enqueue_trial(start_within(self.space, self.start))
        while (done := len(tried(self.study))) < trials and time.monotonic() < self.deadline:
            self.study.sampler = sampler(self.start[1].seed, done)
            if not self._try(self.study.ask(), done):
                break
            if after_trial:
                after_trial(self._search_so_far())
        result = self._search_so_far()
        if result.best is None:
            raise TrainingError(*self._failure_reason(result))
        return result

    def _search_so_far(self) -> Search:
        ended = tried(self.study)
        best = best_of(ended)
        network, fitting = apply(self.start, best.settings if best else {})
        return Search(
            study=self.about,
            tried=ended,
            interrupted=interrupted(self.study),
            best=best,
            network=network,
            fitting=fitting,
            folder=str(self.folder.best.path),
            rows=self.rows.split.report.to_dict(),
        )

    def _failure_reason(self, result: Search) -> tuple[str]:
        notes = [one.note for one in result.tried if one.note]
        if notes:
            return (f"none of {len(result.tried):,} trials produced a model; the last one: {notes[-1]}",)
        return (
            f"no trial finished in time; continue with --resume and a longer --timeout, or start"
            f" over with fewer rows (--limit) or --epochs in a folder other than {self.folder.path}",
        )

    def _try(self, trial: optuna.Trial, number: int) -> bool:
        """Run one trial; False if time ran out during it."""
        trial.set_user_attr("number", number)
        run = self.folder.trial(number)
        try:
            score = self._score(trial, number)
        except optuna.TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        except (TrainingError, MemoryError, tf.errors.ResourceExhaustedError) as error:
            short = error.message if isinstance(error, TrainingError) else "out of memory"
            trial.set_user_attr("note", short)
            self.study.tell(trial, state=TrialState.FAIL)
        except (_OutOfTime, KeyboardInterrupt) as error:
            begin_again(self.study, trial.number, killed=False)
            shutil.rmtree(run.path, ignore_errors=True)
            if isinstance(error, _OutOfTime):
                return False
            raise
        else:
            self.folder.keep_if_best(number, score)
            self.study.tell(trial, score)
        shutil.rmtree(run.path, ignore_errors=True)
        return True

    def _score(self, trial: optuna.Trial, number: int) -> float:
        """Train a trial's network in its folder; return the score of the kept epoch."""
        keras.backend.clear_session()  # frees the memory of earlier trials
        network, fitting = apply(self.start, self.space.suggest(trial))
        folder, labels = self.folder.trial(number), self.prepared.labels
        folder.path.mkdir()
        vocabulary, train, validation = self.rows.encode(network)
        folder.write_vocabulary(vocabulary)
        folder.write_validation(HeldOutRows(self.prepared.validation_name, validation))
        model = build_model(
            network,
            words=len(vocabulary),
            pairs=vocabulary.pair_count,
            classes=len(labels),
            seed=fitting.seed,
        )
        sides = lessons(self.prepared.split, (train, validation), labels, fitting, self.taught)
        scores: list[float] = []

        def judge(model: keras.Sequential, record: dict[str, float]) -> None:
            scores.append(self._judged(model, record, sides[1]))
            trial.report(scores[-1], int(record["epoch"]))
            if record["epoch"] < fitting.epochs and trial.should_prune():
                raise optuna.TrialPruned

        history = fit(model, *sides, fitting, folder, progress=self._on_batch, after_epoch=judge)
        kept = history.kept_epoch(fitting)
        settings = replace(self.settings, network=network, fitting=fitting)
        record = replace(
            describe(self.prepared, settings, vocabulary),
            teachers=self.teachers,
            search=TrialScore(number, self.about["metric"], scores[kept - 1]),
        )
        finish(folder, model, history, kept, history.figures(kept), record)
        return scores[kept - 1]

    def _judged(self, model: keras.Sequential, record: dict[str, float], rows: Examples) -> float:
        """The metric's value on the held-out rows."""
        if self.about["metric"] == "accuracy":
            return record["validation_accuracy"]
        guesses = keras_probabilities(model, rows.rows).argmax(axis=1)
        return measure(rows.classes(), guesses, self.prepared.labels).macro_recall

    def _on_batch(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """After each batch: stop if time is up or the loss is not finite, and report progress."""
        if time.monotonic() >= self.deadline:
            raise _OutOfTime
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is not a number in epoch {epoch + 1}")
        if self.progress:
            self.progress(epoch, done, total, loss, accuracy)
