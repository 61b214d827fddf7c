"""The search for settings: spaces, a trial's rows, and trials that are pruned, killed, cut short or fail."""

from __future__ import annotations

import json
import math
import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import synthetic_table, write_synthetic

pytest.importorskip("tensorflow")

import optuna
from optuna.trial import TrialState

from sentstream.cli import app, main
from sentstream.errors import (
    CheckpointError,
    DataError,
    InputFormatError,
    InputNotFoundError,
    OutputExistsError,
    SentstreamError,
    TrainingError,
    UsageError,
)
from sentstream.text import TextRules
from sentstream_train.config import ARCHITECTURES, DataConfig, FitConfig
from sentstream_train.data.labeled import read_labeled
from sentstream_train.data.split import Split, split_rows
from sentstream_train.evaluate.run import evaluate
from sentstream_train.export.run import export
from sentstream_train.fit.distill import Teachers
from sentstream_train.measure.metrics import measure
from sentstream_train.network.predict import keras_probabilities
from sentstream_train.report.search.page import search_next, search_page
from sentstream_train.runs.train import learn, train
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import RunRecord, TrialScore, VocabularySize
from sentstream_train.store.trained import open_trained
from sentstream_train.tune.result import Search, train_options
from sentstream_train.tune.rows import Rows
from sentstream_train.tune.run import tune
from sentstream_train.tune.space import (
    DEFAULT_SPACE,
    SETTINGS,
    Choices,
    Range,
    apply,
    parse_space,
    read_space,
    start_values,
    start_within,
)
from sentstream_train.tune.study import StudyFolder, begin_again, interrupted, tried

DOCS = Path(__file__).resolve().parents[3] / "docs" / "tuning.md"
START = (ARCHITECTURES["pairs"], FitConfig(epochs=2))
ROWS = DataConfig(validation=0.2)
FIXED = {"words": 200, "min_count": 1, "embedding": 8, "layers": 1, "units": 8, "batch_size": 32}
SPACE = {
    **FIXED,
    "pairs": [0, 160_000],
    "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
}
TRIALS = 7
#: In which a kill is looked at: those before it are enough for trials after it to be pruned.
KILLED = 4


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "tweets.parquet", 500)


def search(tweets: Path, output: Path, space: dict[str, Any] = SPACE, **more: Any) -> Search:
    arguments: dict[str, Any] = {"network": START[0], "fitting": START[1], "data": ROWS, "trials": TRIALS}
    return tune([tweets], output, space=parse_space(space), **{**arguments, **more})


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searches")


@pytest.fixture(scope="module")
def found(tweets: Path, searches: Path) -> Search:
    """A finished search, and its folder as a kill in trial 4 would have left it."""

    def copy(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        killed = searches / "killed"
        if epoch and (searches / "search" / f"trial-{KILLED}").exists() and not killed.exists():
            shutil.copytree(searches / "search", killed)

    return search(tweets, searches / "search", progress=copy)


def outcomes(trials: Any) -> list[Any]:
    """The results that must not depend on the clock."""
    return [{**one, "seconds": 0, "scores": list(one["scores"])} for one in trials]


# Spaces


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_in_the_default_space(name: str) -> None:
    start = (ARCHITECTURES[name], FitConfig())
    assert start_within(DEFAULT_SPACE, start).keys() == DEFAULT_SPACE.varying.keys()
    assert apply(start, start_values(start)) == start


def test_default_space_matches_the_docs() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert parse_space(tomllib.loads(blocks[0])) == DEFAULT_SPACE


def test_every_setting_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    assert all(f"`{name}`" in text for name in SETTINGS)


numbers = st.integers(1, 10_000)
domains = {
    "words": st.tuples(numbers, numbers, st.integers(1, 50)).map(
        lambda of: {"low": of[0], "high": of[0] + of[1] * of[2], "step": of[2]}
    ),
    "learning_rate": st.tuples(st.floats(1e-6, 1e-3), st.floats(1e-2, 1)).map(
        lambda of: {"low": of[0], "high": of[1], "log": True}
    ),
    "cell": st.lists(st.sampled_from(["simple", "gru", "lstm"]), min_size=1, max_size=3, unique=True),
    "bidirectional": st.just([True, False]),
    "l2": st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True),
    "units": numbers,
    "schedule": st.sampled_from(["linear", "constant"]),
}


@settings(max_examples=40, deadline=None)
@given(
    written=st.fixed_dictionaries({"dropout": st.just([0.0, 0.5])}, optional=domains), seed=st.integers(0, 99)
)
def test_space_round_trip_and_suggestions(written: Any, seed: int) -> None:
    space = parse_space(json.loads(json.dumps(written)))
    assert parse_space(json.loads(json.dumps(space.to_dict()))) == space
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    values = space.suggest(study.ask())
    assert all(values[name] in domain for name, domain in space.varying.items())
    network, fitting = apply(START, {**space.fixed, **values})
    assert start_within(space, (network, fitting)) == values


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "no setting varies"),
        ({"units": 8}, "no setting varies"),
        ({"unit": [8]}, "unknown setting 'unit' .did you mean units"),
        ({"patience": [1, 2]}, "unknown setting 'patience' .settings: words"),
        ({"units": []}, "no choices"),
        ({"units": [8, 8]}, "duplicates"),
        ({"units": [8, 0]}, "at least one unit"),
        ({"units": [8, 1.5]}, "units must be an integer, not 1.5"),
        ({"units": [True, 8]}, "units must be an integer, not True"),
        ({"units": [-8]}, "units cannot be negative"),
        ({"units": [10**400]}, "cannot be above"),
        ({"layers": {"low": 0, "high": 2}}, "layers must be at least 1"),
        ({"cell": ["rnn"]}, "cell must be one of simple, gru, lstm"),
        ({"cell": {"low": 1, "high": 2}}, "a range is for numbers"),
        ({"cell": None}, "cell must be a name, not None"),
        ({"bidirectional": [0, 1]}, "bidirectional must be true or false, not 0"),
        ({"dropout": [0.5, 1.0]}, "dropout must be at least 0 and below 1"),
        ({"dropout": {"low": 0.1}}, "needs low and high"),
        ({"dropout": {"low": 0.5, "high": 0.5}}, "low must be below high"),
        ({"dropout": {"low": 0.1, "high": 0.5, "max": 1}}, "unknown key 'max'"),
        ({"dropout": {"low": 0.0, "high": 0.5, "step": 0.2}}, "integer number of steps"),
        ({"dropout": {"low": 0.0, "high": 0.5, "log": True}}, "starts above 0"),
        ({"dropout": {"low": 0.1, "high": 0.5, "log": 1}}, "log must be true or false"),
        ({"learning_rate": [math.nan]}, "learning_rate must be a number, not nan"),
        ({"learning_rate": [math.inf]}, "learning_rate must be a number, not inf"),
        ({"learning_rate": [0]}, "learning rate must be above 0"),
        ({"l2": ["none"]}, "l2 must be a number, not 'none'"),
    ],
)
def test_invalid_space_is_rejected(space: Any, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_space(space)
    assert re.search(message, str(error.value))


def test_space_from_a_file(tmp_path: Path) -> None:
    toml, text = tmp_path / "space.toml", tmp_path / "space.json"
    toml.write_text('units = [8, 16]\ndropout = { low = 0, high = 0.5 }\ncell = "gru"\n')
    text.write_text('{"units": [8, 16], "dropout": {"low": 0, "high": 0.5}, "cell": "gru"}')
    assert read_space(toml) == read_space(text)
    assert read_space(toml).varying == {"units": Choices((8, 16)), "dropout": Range(0.0, 0.5)}
    assert read_space(toml).fixed == {"cell": "gru"}
    toml.write_text("units = [8,")
    with pytest.raises(InputFormatError, match=r"space\.toml is not TOML"):
        read_space(toml)
    text.write_text("[8]")
    with pytest.raises(InputFormatError, match="does not contain settings"):
        read_space(text)
    text.write_text('{"depth": [8]}')
    with pytest.raises(UsageError, match=r"space\.json: unknown setting 'depth'"):
        read_space(text)
    with pytest.raises(InputNotFoundError, match="does not exist"):
        read_space(tmp_path / "none.toml")


def test_start_must_be_in_the_space(tweets: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="starts with cell = simple, which is outside its space"):
        search(tweets, tmp_path / "search", {**SPACE, "cell": ["gru", "lstm"]})
    assert not (tmp_path / "search").exists()


# Rows


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    path = write_synthetic(tmp_path_factory.mktemp("split") / "rows.parquet", 300, seed=3)
    return split_rows(read_labeled([path]), ROWS, 1)


@settings(max_examples=30, deadline=None)
@given(words=st.integers(1, 500), pairs=st.integers(0, 400), min_count=st.integers(1, 4))
def test_trial_vocabulary_and_ids_match_training(
    split: Split, words: int, pairs: int, min_count: int
) -> None:
    rows = Rows(split, ROWS, words=500, pairs=True)
    network = replace(START[0], words=words, pairs=pairs, min_count=min_count)
    vocabulary, train_rows, validation_rows = rows.encode(network)
    expected, expected_rows = learn(split, network, ROWS)
    assert vocabulary.words.equals(expected.words)
    for mine, theirs in ((vocabulary.pairs, expected.pairs), (train_rows.pairs, expected_rows.pairs)):
        assert (mine is None) == (theirs is None) == (not pairs)
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(train_rows.words, expected_rows.words)
    np.testing.assert_array_equal(train_rows.offsets, expected_rows.offsets)
    assert len(validation_rows) == len(split.validation_labels)


# Searches


def test_trial_0_matches_training(found: Search, tweets: Path, tmp_path: Path) -> None:
    network, fitting = apply(START, FIXED)
    alone = train([tweets], tmp_path / "run", network=network, fitting=fitting, data=ROWS)
    assert found.tried[0].settings == {"pairs": 160_000, "dropout": 0.4, "learning_rate": 2e-3}
    assert found.tried[0].scores == tuple(one["validation_accuracy"] for one in alone.history.epochs)
    assert found.study["metric"] == "accuracy"
    assert found.rows == alone.report.to_dict()


def test_bad_trials_are_pruned_and_the_best_beats_the_start(found: Search) -> None:
    assert [one.number for one in found.tried] == list(range(TRIALS))
    assert {one.state for one in found.tried} == {"complete", "pruned"}
    complete = [one for one in found.tried if one.state == "complete"]
    for one in found.tried:
        assert len(one.scores) == (2 if one.state == "complete" else 1)
        assert one.score in one.scores  # that of the epoch that is kept; of a pruned one the last
    assert found.best is not None
    assert found.best.score == max(one.score or 0 for one in complete) > found.tried[0].scores[-1]


def test_only_the_best_run_is_kept(found: Search, tweets: Path, tmp_path: Path) -> None:
    best, folder = found.best, Path(found.folder)
    assert best is not None
    names = {path.name for path in folder.parent.iterdir()}
    assert names == {"best", ".lock", "study.json", "study.journal"}
    run = json.loads((folder / "run.json").read_text())
    assert run["search"] == {"trial": best.number, "metric": "accuracy", "score": best.score}
    assert run["metrics"]["validation"]["accuracy"] == best.score
    assert run["training"]["learning_rate"] == best.settings["learning_rate"] == found.fitting.learning_rate
    assert evaluate(str(folder), [tweets]).to_dict()["metrics"]["accuracy"] > 0.5
    export(folder, tmp_path / "bundle")
    assert (tmp_path / "bundle" / "model.onnx").exists()


def test_command_prints_how_to_train_with_the_best_settings(found: Search) -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    for network, fitting in (
        (found.network, found.fitting),
        (
            replace(ARCHITECTURES["bilstm"], l2=1e-6, units=(32, 64)),
            FitConfig(epochs=7, learning_rate=0.00123),
        ),
        (START[0], FitConfig()),
    ):
        options = train_options(network, fitting)
        given = command.make_context("train", ["DATA", "--output", "RUN", *options]).params
        values = {name: value for name, value in given.items() if value is not None}
        if "units" in values:
            values["units"] = tuple(map(int, values["units"].split(",")))
        shape = {name: values[name] for name in vars(network) if name in values}
        assert replace(ARCHITECTURES["pairs"], **shape) == network
        assert FitConfig(**{name: values[name] for name in vars(fitting) if name in values}) == fitting


def test_three_labels_use_macro_recall(tmp_path: Path) -> None:
    path = write_synthetic(tmp_path / "three.parquet", 300, neutral=True)
    result = search(path, tmp_path / "search", trials=1)
    assert result.study["metric"] == "macro-recall"
    rows = read_labeled([path])
    held_out = split_rows(rows, ROWS, 1)
    opened = open_trained(result.folder)
    guesses = keras_probabilities(opened.model, opened.text.look_up(held_out.validation)).argmax(axis=1)
    expected = measure(held_out.validation_labels, guesses, rows.labels).macro_recall
    assert result.best is not None
    assert result.best.score == pytest.approx(expected)
    with pytest.raises(CheckpointError, match="with another --metric"):
        search(path, tmp_path / "search", resume=True, metric="accuracy")


def test_trials_learn_from_teachers(tmp_path: Path) -> None:
    """The labels are wrong and the teacher is right, so a trial's score shows which it has learned from."""
    table = synthetic_table(300, seed=5)
    right = np.array([label == "positive" for label in table["label"].to_pylist()])
    for name, shares in (("p_negative", ~right), ("p_positive", right)):
        table = table.append_column(name, pa.array(np.where(shares, 0.95, 0.05)))
    wrong = pa.array(["negative" if one else "positive" for one in right])
    path = tmp_path / "taught.parquet"
    pq.write_table(table.set_column(1, "label", wrong), path)
    teachers = Teachers(columns="p_")
    space = {**FIXED, "pairs": 0, "learning_rate": [2e-3, 2e-2], "teacher_weight": [0.5, 1.0]}
    fitting = replace(START[1], epochs=4, learning_rate=2e-2, teacher_weight=1.0, patience=0)
    result = search(path, tmp_path / "search", space, trials=1, fitting=fitting, teachers=teachers)
    assert result.best is not None
    assert result.best.score is not None
    assert result.best.score < 0.3  # held-out rows are judged by their labels, which are wrong
    assert open_trained(result.folder).provenance["teachers"] == [
        {"name": "columns p_*", "fingerprint": None}
    ]
    again = "again: sentstream train DATA --output RUN "
    (line,) = (one for one in search_next(result.to_dict()) if one.startswith(again))
    assert line.endswith(" --teacher-columns p_")
    assert "--teacher-weight 1.0" in line
    with pytest.raises(CheckpointError, match="with other teachers"):
        search(path, tmp_path / "search", space, trials=2, fitting=fitting, resume=True)


# What a kill leaves


def command(tweets: Path, space: Path, output: Path, *more: str) -> list[str]:
    return [
        *("tune", str(tweets), "--space", str(space), "--output", str(output)),
        *("--trials", str(TRIALS), "--validation", "0.2", *more),
    ]


@pytest.mark.slow
def test_killed_search_has_the_same_trials(
    found: Search,
    searches: Path,
    tweets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kill -9 in the middle of a trial, with half a line in the journal."""
    output, space = searches / "killed", tmp_path / "space.json"
    space.write_text(json.dumps(SPACE))
    arguments = command(tweets, space, output)
    with (output / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 6, "wor')

    pages: list[str] = []

    def draw(so_far: dict[str, Any]) -> str:
        pages.append(search_page(so_far))
        return pages[-1]

    monkeypatch.setattr("sentstream_train.report.search.page.search_page", draw)
    assert main([*arguments, "--resume", "--json"]) == 0
    assert len(set(pages)) == TRIALS - KILLED  # drawn after each trial
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    whole = json.loads(json.dumps(found.to_dict()))
    assert outcomes(result["trials"]) == outcomes(whole["trials"])
    assert result["interrupted"] == 1
    assert result["best"]["number"] == whole["best"]["number"]
    for name in ("architecture", "training", "train_options"):
        assert result["best"][name] == whole["best"][name]
    assert f"trial {KILLED}: " in printed.err
    names = {path.name for path in output.iterdir()}
    assert names == {"best", ".lock", "study.json", "study.journal", "search.html"}

    # Nothing is left to do, and more trials than before may be asked for.
    assert main([*arguments, "--resume"]) == 0
    assert f"again: sentstream train DATA --output RUN {' '.join(whole['best']['train_options'])}\n" in (
        capsys.readouterr().out
    )


def test_ctrl_c_repeats_the_trial(tweets: Path, tmp_path: Path) -> None:
    def press(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        raise KeyboardInterrupt

    for _ in range(2):  # as often as one likes
        with pytest.raises(KeyboardInterrupt):
            search(
                tweets, tmp_path / "search", progress=press, resume=(tmp_path / "search").exists(), trials=1
            )
    assert not list((tmp_path / "search").glob("trial-*"))
    result = search(tweets, tmp_path / "search", resume=True, trials=1)
    assert result.interrupted == 2
    assert [one.state for one in result.tried] == ["complete"]
    assert result.tried[0].settings["learning_rate"] == 2e-3


def test_trial_that_kills_twice_counts_as_failed(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.open().enqueue_trial({"dropout": 0.25})
    for kills in range(2):
        study = folder.open()
        folder.settle(study)
        trial = study.ask()
        trial.set_user_attr("number", 0)
        assert kills or trial.number == 0
        assert trial.suggest_float("dropout", 0, 1) == 0.25
        assert not tried(study)
    study = folder.open()
    folder.settle(study)
    (one,) = tried(study)
    assert one.state == "failed"
    assert "killed 2 times during it" in str(one.note)
    assert interrupted(study) == 1
    assert not study.get_trials(states=(TrialState.WAITING, TrialState.RUNNING))


def test_unsampled_settings_of_a_killed_trial_are_kept(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path).open()
    study.enqueue_trial({"dropout": 0.25, "l2": 0.5})
    trial = study.ask()
    trial.suggest_float("dropout", 0, 1)
    begin_again(study, trial.number, killed=True)
    again = study.ask()
    assert again.suggest_float("l2", 0, 1) == 0.5
    assert again.suggest_float("dropout", 0, 1) == 0.25


def finished(path: Path, number: int, score: float) -> None:
    path.mkdir()
    record = RunRecord(("a", "b"), TextRules(), 1000, VocabularySize(2, 0), finished="now")
    RunFolder(path).write_record(replace(record, search=TrialScore(number, "accuracy", score)))
    (path / "model.keras").write_bytes(str(number).encode())


@pytest.mark.parametrize(
    ("score", "killed"),
    [
        (0.3, "before the swap"),
        (0.7, "before the swap"),
        (0.7, "in the swap"),
        (0.7, "after the swap"),
        (0.7, "while cleaning up"),
    ],
)
def test_finished_trial_counts_after_any_kill(tmp_path: Path, killed: str, score: float) -> None:
    folder = StudyFolder(tmp_path)
    study = folder.open()
    study.tell(study.ask(), 0.5)
    study.ask().set_user_attr("number", 1)
    finished(tmp_path / "best", 0, 0.5)
    finished(tmp_path / "trial-1", 1, score)
    if killed != "before the swap":
        (tmp_path / "best").rename(tmp_path / ".best-before")
    if killed in ("after the swap", "while cleaning up"):
        (tmp_path / "trial-1").rename(tmp_path / "best")
    if killed == "while cleaning up":
        (tmp_path / ".best-before" / "model.keras").unlink()
    study = folder.open()
    folder.settle(study)
    assert [one.score for one in tried(study)] == [0.5, score]
    assert {path.name for path in tmp_path.iterdir()} == {"best", "study.journal"}
    assert (tmp_path / "best" / "model.keras").read_bytes() == (b"1" if score > 0.5 else b"0")


def test_missing_best_run_is_detected(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    study = folder.open()
    study.tell(study.ask(), 0.5)
    with pytest.raises(CheckpointError, match="best is missing"):
        folder.settle(study)


def test_earlier_search_continues_unchanged(found: Search, tweets: Path, tmp_path: Path) -> None:
    """A search of an earlier version, which does not record when two texts count as the same."""
    output = tmp_path / "search"
    shutil.copytree(Path(found.folder).parent, output)
    study = json.loads((output / "study.json").read_text("utf-8"))
    assert study["preparation"].pop("same_text") == 2
    (output / "study.json").write_text(json.dumps(study), "utf-8")
    assert search(tweets, output, resume=True).study["preparation"]["same_text"] == 1


# What is refused, and what fails


def test_different_search_is_rejected(found: Search, tweets: Path, tmp_path: Path) -> None:
    output = Path(found.folder).parent
    before = (output / "study.journal").read_bytes()
    other = write_synthetic(tmp_path / "other.parquet", 500, seed=4)
    for message, arguments in {
        "with another space": {"space": {**SPACE, "pairs": [0, 10, 160_000]}},
        "with other data": {"tweets": other},
        "with another starting point, --epochs or --seed": {"fitting": replace(START[1], epochs=3)},
        "with another --validation": {"data": replace(ROWS, validation=0.3)},
        "with other --labels": {"labels": ["positive", "negative"]},
        "with other --without files": {"without": [other]},
    }.items():
        with pytest.raises(CheckpointError, match=message):
            search(**{"tweets": tweets, "output": output, "resume": True, **arguments})
    with pytest.raises(OutputExistsError, match="already exists"):
        search(tweets, output)
    with pytest.raises(CheckpointError, match="is this the folder of a search"):
        search(tweets, tmp_path / "nothing", resume=True)
    with StudyFolder(output).alone(), pytest.raises(CheckpointError, match="another process"):
        search(tweets, output, resume=True)
    assert (output / "study.journal").read_bytes() == before


def test_trial_without_loss_fails_and_the_search_continues(tweets: Path, tmp_path: Path) -> None:
    space = {**FIXED, "clip_norm": 0.0, "pairs": 0, "learning_rate": [2e-3, 3e38], "cell": ["simple", "gru"]}
    result = search(tweets, tmp_path / "search", space, trials=3, fitting=replace(START[1], epochs=1))
    failed = [one for one in result.tried if one.state == "failed"]
    assert failed
    assert len(result.tried) == 3
    assert all(one.settings["learning_rate"] == 3e38 for one in failed)
    assert all("loss" in str(one.note) and one.score is None for one in failed)
    page = search_page(json.loads(json.dumps(result.to_dict())))
    assert "failed: the " in page


def test_only_failed_trials_is_an_error(tweets: Path, tmp_path: Path) -> None:
    space = {**FIXED, "clip_norm": 0.0, "pairs": 0, "learning_rate": 3e38, "dropout": [0.4, 0.5]}
    with pytest.raises(TrainingError, match=r"none of 2 trials produced a model; the last one: the .*loss"):
        search(tweets, tmp_path / "search", space, trials=2)
    assert not list((tmp_path / "search").glob("trial-*"))


class Clock:
    """Replaces ``time`` in the search: it stands still unless it is advanced."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def forward(self, *_: object) -> None:
        self.now += 1.0


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sentstream_train.tune.run.time", clock)
    return clock


def test_time_limit_within_a_trial(tweets: Path, tmp_path: Path, clock: Clock) -> None:
    endless = {"fitting": replace(START[1], epochs=10_000), "seconds": 5.0}
    with pytest.raises(TrainingError, match="no trial finished in time"):
        search(tweets, tmp_path / "search", **endless, progress=clock.forward)  # a second a batch
    assert clock.now == 5.0
    study = StudyFolder(tmp_path / "search").open()
    assert interrupted(study) == 1
    assert not tried(study)
    assert not list((tmp_path / "search").glob("trial-*"))


@pytest.mark.slow
def test_time_limit_between_trials(tweets: Path, tmp_path: Path, clock: Clock) -> None:
    result = search(tweets, tmp_path / "search", seconds=1.0, after_trial=clock.forward)
    assert (len(result.tried), result.interrupted) == (1, 0)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        (["positive"] * 80, DataError, "fewer than two labels"),
        (["positive"] * 79 + ["negative"], DataError, "only one label"),
        (["positive", "negative"] * 10, UsageError, "a batch of 32 rows is more than the 16 to train on"),
    ],
)
def test_unusable_rows_are_rejected_before_the_first_trial(
    labels: list[str], kind: type[SentstreamError], message: str, tmp_path: Path
) -> None:
    table = synthetic_table(len(labels))
    path = tmp_path / "rows.parquet"
    pq.write_table(table.set_column(1, "label", [labels]).drop_columns(["user"]), path)
    with pytest.raises(kind, match=message):
        search(path, tmp_path / "search")
    assert not (tmp_path / "search" / "study.json").exists()


def test_invalid_durations_and_settings_give_one_line(
    tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.toml"
    space.write_text("depth = [1, 2]\n")
    for more, code, message in (
        (("--timeout", "soon"), 2, "--timeout takes a duration, not 'soon'"),
        ((), 2, "unknown setting 'depth'"),
    ):
        assert main(command(tweets, space, tmp_path / "search", *more)) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "search").exists()


# The page


class Page(HTMLParser):
    """The contents of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def circles(self) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.tags if tag == "circle")


def test_page_has_every_trial_and_loads_nothing(found: Search) -> None:
    data = json.loads(json.dumps(found.to_dict()))
    page = Page(search_page(data))
    assert not page.open
    assert not [
        tag for tag, attributes in page.tags if tag in ("script", "link", "img") or "src" in attributes
    ]
    kinds = [circle["class"] for circle in page.circles()]
    pruned = sum(one.state == "pruned" for one in found.tried)
    charts = 1 + len(found.tried[0].settings)
    assert kinds.count("ring") == charts * pruned
    assert kinds.count("dot") == charts * (TRIALS - pruned)
    for circle in page.circles():
        assert 0 <= float(str(circle["cx"])) <= 360
        assert 0 <= float(str(circle["cy"])) <= 300


def test_page_without_a_result(found: Search) -> None:
    nothing = asdict(found.tried[0]) | {"state": "failed", "score": None, "scores": (), "note": "<b>no</b>"}
    data = {**found.to_dict(), "trials": [nothing], "best": None}
    page = search_page(data)
    assert not Page(page).open
    assert "No trial is complete yet" in page
    assert "&lt;b&gt;no" in page
