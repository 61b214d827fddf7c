"""A search's folder: Optuna's journal, the study's settings, the best run; and cleanup after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from sentstream.errors import CheckpointError, OutputExistsError, OutputWriteError
from sentstream_train.store.folder import RunFolder
from sentstream_train.tune.result import FinishedTrial

STUDY_FORMAT = 1
#: The number of random trials, including the starting point, before the sampler uses results.
_RANDOM_TRIALS = 10
#: A trial during which this many processes were killed is not started again.
_MOST_KILLS = 2
#: The settings that identify a study, and how an error describes a difference.
_IDENTITY = {
    "data": "with other data",
    "held_out": "with other --without files",
    "space": "with another space",
    "network": "with another starting point (--arch)",
    "fitting": "with another starting point, --epochs or --seed",
    "preparation": "with another --validation, --limit, --conflicts or --duplicates",
    "columns": "with other columns",
    "only_labels": "with other --labels",
    "teachers": "with other teachers",
    "metric": "with another --metric",
}


@dataclass(frozen=True)
class StudyFolder:
    """The files of one search.

    ``study.json`` has the study's settings, ``study.journal`` is Optuna's; ``best`` is the run of the best
    trial, ``trial-N`` that of the running trial; ``search.html`` is the report.
    """

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "study.json"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def best(self) -> RunFolder:
        return RunFolder(self.path / "best")

    @property
    def _replaced(self) -> Path:
        return self.path / ".best-before"

    def trial(self, number: int) -> RunFolder:
        """The run of a trial while it is running."""
        return RunFolder(self.path / f"trial-{number}")

    def claim(self) -> None:
        """Create the folder of a new search.

        Raises:
            OutputExistsError: It exists and is not empty.
            OutputWriteError: It cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            used = any(not one.name.startswith(".") for one in self.path.iterdir())
        except FileExistsError:
            used = True
        except OSError as error:
            raise OutputWriteError(f"{self.path} cannot be created: {error.strerror}") from error
        if used:
            raise OutputExistsError(
                f"{self.path} already exists", hint="continue with --resume, or choose another --output"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A lock to hold while a process works on the search; does nothing on Windows.

        Raises:
            CheckpointError: Another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        with (self.path / ".lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CheckpointError(
                    f"another process is using the study in {self.path}", hint="wait until it ends"
                ) from error
            yield

    def read_settings(self) -> dict[str, Any]:
        """The study's settings in ``study.json``.

        Raises:
            CheckpointError: There is no search, or its format is not supported.
        """
        if not self.settings.exists():
            raise CheckpointError(f"{self.settings} does not exist", hint="is this the folder of a search?")
        study = RunFolder(self.path).read_json(self.settings)
        if study.get("format") != STUDY_FORMAT:
            raise CheckpointError(
                f"a study of format {study.get('format')!r}; this version supports {STUDY_FORMAT}"
            )
        return study

    def check_same(self, earlier: dict[str, Any], current: dict[str, Any]) -> None:
        """Raise if the settings of a search to resume differ from the wanted ones.

        Raises:
            CheckpointError: They differ.
        """
        for name, words in _IDENTITY.items():
            before, now = earlier.get(name), current[name]
            if name == "teachers":  # earlier versions had none
                before = before or []
            if name in ("data", "held_out"):  # a file may have moved
                before, now = ([one["sha256"] for one in files] for files in (before or [], now))
            if before != now:
                raise CheckpointError(
                    f"{self.path} contains a study {words}",
                    hint="repeat the command that started it, with --resume, or choose another --output",
                )

    def write_settings(self, study: dict[str, Any]) -> None:
        RunFolder(self.path).write_json(self.settings, study)

    def open(self) -> optuna.Study:
        """Optuna's study; created if there is none.

        Raises:
            CheckpointError: The journal cannot be read.
        """
        _repair(self.journal)
        for stale in self.path.glob(f"{self.journal.name}.lock*"):  # of a killed process
            stale.unlink()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            return optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self.journal))),
                study_name="search",
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{self.journal} cannot be read: {error}") from error

    def keep_if_best(self, number: int, score: float) -> None:
        """Make a finished trial's run the best one, or remove it.

        The older run stays until the newer one is in place, so ``settle`` can clean up after any kill.
        """
        trial = self.trial(number).path
        if self.best.run.exists() and score <= self._score(self.best):
            shutil.rmtree(trial)
            return
        if self.best.path.exists():
            self.best.path.rename(self._replaced)
        trial.rename(self.best.path)
        shutil.rmtree(self._replaced, ignore_errors=True)

    def settle(self, study: optuna.Study) -> None:
        """Clean up after a kill: record trials that had finished, start the others again.

        Raises:
            CheckpointError: The best run is missing.
        """
        if self._replaced.exists():
            if self.best.path.exists():
                shutil.rmtree(self._replaced)
            else:
                self._replaced.rename(self.best.path)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number = trial.user_attrs.get("number")
            if number is not None and self._is_finished(self.trial(number), number):
                score = self._score(self.trial(number))
                self.keep_if_best(number, score)
                study.tell(trial.number, score)
            elif number is not None and self._is_finished(self.best, number):
                study.tell(trial.number, self._score(self.best))
            else:
                begin_again(study, trial.number, killed=True)
        for left in self.path.glob("trial-*"):
            shutil.rmtree(left)
        if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) and not self.best.model.exists():
            raise CheckpointError(
                f"{self.best.path} is missing", hint="start the search over in another --output"
            )

    def _is_finished(self, run: RunFolder, number: int) -> bool:
        if not run.run.exists():
            return False
        record = run.read_record()
        return record.finished is not None and record.search is not None and record.search.trial == number

    def _score(self, run: RunFolder) -> float:
        search = run.read_record().search
        if search is None:
            raise CheckpointError(f"{run.run} is not from a trial", hint="start the search over")
        return search.score


def _repair(journal: Path) -> None:
    """Drop an incomplete last line: it was never read, and a record appended to it would be lost."""
    if journal.exists():
        data = journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with journal.open("r+b") as file:
                file.truncate(whole)


def sampler(seed: int, ended: int) -> optuna.samplers.TPESampler:
    """The sampler of the next trial (tree-structured Parzen estimator, Bergstra et al. 2011).

    It is seeded for each trial from the number of finished trials, so a killed and resumed study draws the
    same values.
    """
    drawn = int(np.random.SeedSequence([seed, ended]).generate_state(1)[0])
    return optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=drawn)


def begin_again(study: optuna.Study, number: int, *, killed: bool) -> None:
    """Mark an interrupted trial as failed and queue its settings again.

    Args:
        study: The study.
        number: Optuna's number of the trial.
        killed: The process was killed during the trial. After two kills, the trial counts as failed and
            is not queued.
    """
    trial = study.trials[number]
    kills = trial.user_attrs.get("kills", 0) + killed
    # Includes the settings that it was queued with but had not sampled yet.
    settings = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    retried = optuna.Trial(study, trial._trial_id)
    if kills >= _MOST_KILLS:
        retried.set_user_attr("note", f"the process was killed {kills} times during it: out of memory?")
        study.tell(number, state=TrialState.FAIL)
        return
    retried.set_user_attr("interrupted", True)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if all(one.system_attrs.get("fixed_params") != settings for one in waiting):  # else killed here before
        study.enqueue_trial(settings, user_attrs={"kills": kills})
    study.tell(number, state=TrialState.FAIL)


def tried(study: optuna.Study) -> tuple[FinishedTrial, ...]:
    """The finished trials, without interrupted ones, in order."""
    ended = [one for one in study.get_trials(deepcopy=False) if _counts(one)]
    return tuple(_tried(index, one) for index, one in enumerate(ended))


def interrupted(study: optuna.Study) -> int:
    """How many trials were interrupted and started again."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return sum("interrupted" in one.user_attrs for one in trials)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and "interrupted" not in trial.user_attrs


def _tried(index: int, trial: FrozenTrial) -> FinishedTrial:
    scores = tuple(score for _, score in sorted(trial.intermediate_values.items()))
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return FinishedTrial(
        number=index,
        state=state,  # type: ignore[arg-type]
        score=None if state == "failed" else trial.value,
        scores=scores,
        seconds=round(seconds, 2),
        settings=dict(trial.params),
        note=trial.user_attrs.get("note"),
    )
