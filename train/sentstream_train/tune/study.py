"""A search's folder: Optuna's journal, what the study is of, the best run, and what a kill leaves behind."""

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
from sentstream_train.tune.result import Tried

STUDY_FORMAT = 1
#: Trials that are drawn at random before the sampler learns from them, the starting point included.
_RANDOM_TRIALS = 10
#: A trial that ended this many processes is not begun again.
_MOST_KILLS = 2
#: What a study is of, and how an error names another one.
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

    ``study.json`` says what it is a study of, ``study.journal`` is Optuna's; ``best`` is the run of the
    best trial, ``trial-N`` that of the trial that runs; ``search.html`` draws them all.
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
        """The run of a trial, while it runs."""
        return RunFolder(self.path / f"trial-{number}")

    def claim(self) -> None:
        """Make the folder of a new search.

        Raises:
            OutputExistsError: Something is there.
            OutputWriteError: It cannot be made.
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
        """Held while a process works on the search; where there are no locks, nothing is checked.

        Raises:
            CheckpointError: Another process does.
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
        """What the search is of.

        Raises:
            CheckpointError: There is no search, or one of another version.
        """
        if not self.settings.exists():
            raise CheckpointError(f"{self.settings} does not exist", hint="is this the folder of a search?")
        study = RunFolder(self.path).read_json(self.settings)
        if study.get("format") != STUDY_FORMAT:
            raise CheckpointError(
                f"a study of format {study.get('format')!r}; this version supports {STUDY_FORMAT}"
            )
        return study

    def check_same(self, earlier: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Raise if a search that is to go on is not the one that is asked for.

        Raises:
            CheckpointError: It is another.
        """
        for name, words in _IDENTITY.items():
            mine, theirs = earlier.get(name), wanted[name]
            if name == "teachers":  # earlier versions had none
                mine = mine or []
            if name in ("data", "held_out"):  # a file may have moved
                mine, theirs = ([one["sha256"] for one in files] for files in (mine or [], theirs))
            if mine != theirs:
                raise CheckpointError(
                    f"{self.path} contains a study {words}",
                    hint="repeat the command that started it, with --resume, or choose another --output",
                )

    def write_settings(self, study: dict[str, Any]) -> None:
        RunFolder(self.path).write_json(self.settings, study)

    def open(self) -> optuna.Study:
        """Optuna's study; made where there is none."""
        _repair(self.journal)
        for stale in self.path.glob(f"{self.journal.name}.lock*"):  # of a killed process; we are alone
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
        """A finished trial's run becomes the best one, or goes.

        Whatever a kill leaves, ``settle`` puts in order: the older run stays until the newer is in place.
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
        """Put in order what a kill has left: a finished trial counts, another one is begun again.

        Raises:
            CheckpointError: The best run is gone.
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
    """Drop a last line that was cut short: it was never read, and what is appended would be lost with it."""
    if journal.exists():
        data = journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with journal.open("r+b") as file:
                file.truncate(whole)


def sampler(seed: int, ended: int) -> optuna.samplers.TPESampler:
    """The sampler of the next trial (tree-structured Parzen estimator, Bergstra et al. 2011).

    It is seeded again for each trial from the number of those that ended, so that a study that was killed
    and resumed draws what it would have drawn.
    """
    drawn = int(np.random.SeedSequence([seed, ended]).generate_state(1)[0])
    return optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=drawn)


def begin_again(study: optuna.Study, number: int, *, killed: bool) -> None:
    """Mark a trial that was cut short as failed, and put its settings at the head of the queue.

    Args:
        study: The study.
        number: Optuna's number of the trial.
        killed: The process ended with it. A trial that did so twice counts as failed instead.
    """
    trial = study.trials[number]
    kills = trial.user_attrs.get("kills", 0) + killed
    # Those that it was queued with and had not asked for yet, too.
    settings = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    ours = optuna.Trial(study, trial._trial_id)
    if kills >= _MOST_KILLS:
        ours.set_user_attr("note", f"the process was killed {kills} times during it: out of memory?")
        study.tell(number, state=TrialState.FAIL)
        return
    ours.set_user_attr("interrupted", True)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if all(one.system_attrs.get("fixed_params") != settings for one in waiting):  # else we were killed here
        study.enqueue_trial(settings, user_attrs={"kills": kills})
    study.tell(number, state=TrialState.FAIL)


def tried(study: optuna.Study) -> tuple[Tried, ...]:
    """The trials that count, in order."""
    ended = [one for one in study.get_trials(deepcopy=False) if _counts(one)]
    return tuple(_tried(place, one) for place, one in enumerate(ended))


def interrupted(study: optuna.Study) -> int:
    """How many trials were cut short and started again."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return sum("interrupted" in one.user_attrs for one in trials)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and "interrupted" not in trial.user_attrs


def _tried(place: int, trial: FrozenTrial) -> Tried:
    scores = tuple(score for _, score in sorted(trial.intermediate_values.items()))
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return Tried(
        number=place,
        state=state,  # type: ignore[arg-type]
        score=None if state == "failed" else trial.value,
        scores=scores,
        seconds=round(seconds, 2),
        settings=dict(trial.params),
        note=trial.user_attrs.get("note"),
    )
