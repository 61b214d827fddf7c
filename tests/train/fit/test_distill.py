"""Distillation: learning from teachers, both models and columns, with labels and without."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import kill_once
from synthetic import synthetic_table, write_synthetic

pytest.importorskip("tensorflow")

import keras

from sentstream.cli import main
from sentstream.errors import (
    CheckpointError,
    ColumnNotFoundError,
    ColumnTypeError,
    DataError,
    UsageError,
)
from sentstream.session import Session
from sentstream.text import TextRules
from sentstream_train.config import Columns, DataConfig, FitConfig, NetworkConfig
from sentstream_train.data.labeled import read_labeled
from sentstream_train.data.split import leave_out
from sentstream_train.fit.distill import Teachers, targets_of
from sentstream_train.fit.teacher_loss import TeacherLoss, accuracy
from sentstream_train.runs.fine_tune import fine_tune
from sentstream_train.runs.preparation import prepare
from sentstream_train.runs.result import TrainResult
from sentstream_train.runs.train import train
from sentstream_train.store.record import Settings
from sentstream_train.store.trained import as_bundle, open_trained

SMALL = NetworkConfig(words=200, min_count=1, embedding=8, units=(8,), pooling="mean-max")
QUICK = FitConfig(epochs=3, batch_size=32, learning_rate=1e-2)
ROWS = DataConfig(validation=0.2)
LABELS = ("negative", "positive")


class Killed(Exception):
    """Stops a run in the middle of an epoch."""


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "tweets.parquet", 600)


@pytest.fixture(scope="module")
def teacher(tweets: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    output = tmp_path_factory.mktemp("runs") / "teacher"
    return train([tweets], output, network=SMALL, fitting=QUICK, data=ROWS)


def taught(
    path: Path, rows: int, *, seed: int, labeled: bool = False, sure: float = 0.9, **columns: Any
) -> Path:
    """Tweets with a teacher's columns, right as often as it is sure; without their labels if so wished."""
    table = synthetic_table(rows, seed=seed)
    right = np.array([LABELS.index(label) for label in table["label"].to_pylist()])
    shares = np.where(right[:, None] == np.arange(2), np.float32(sure), np.float32(1 - sure))
    for index, label in enumerate(LABELS):
        table = table.append_column(f"p_{label}", columns.get(label, pa.array(shares[:, index])))
    pq.write_table(table if labeled else table.drop(["label"]), path)
    return path


# What is learned


@given(
    st.lists(
        st.tuples(st.floats(0, 1, width=32), st.sampled_from([-1, 0, 1]), st.booleans()),
        min_size=1,
        max_size=20,
    ),
    st.floats(0.01, 1),
    st.floats(0.2, 5),
)
def test_row_weights_and_teacher_share(
    rows: list[tuple[float, int, bool]], weight: float, temperature: float
) -> None:
    shares = np.array([(p, 1 - p) if labeled else (np.nan, np.nan) for p, _, labeled in rows], np.float32)
    truth = np.array([label for _, label, _ in rows], np.int32)
    targets = targets_of(shares, truth, weight=weight, temperature=temperature)
    assert targets.dtype == np.float32
    for (p, label, labeled), row in zip(rows, targets, strict=True):
        share = 0.0 if not labeled else 1.0 if label < 0 else weight
        assert row[:2].sum() == pytest.approx(share, abs=1e-5)
        assert row[2:].sum() == pytest.approx(0.0 if label < 0 else 1 - share, abs=1e-5)
        if share and 0.01 < p < 0.99:
            assert row[0] / row[1] == pytest.approx((p / (1 - p)) ** (1 / temperature), rel=1e-2)
        if label >= 0:
            assert row[2 + (1 - label)] == 0


def test_temperature_1_is_cross_entropy_with_the_mixture() -> None:
    random = np.random.default_rng(0)
    predicted, guess = random.dirichlet([1, 1, 1], 50), random.dirichlet([1, 1, 1], 50)
    truth = random.integers(3, size=50)
    targets = targets_of(predicted.astype(np.float32), truth.astype(np.int32), weight=0.3, temperature=1.0)
    mixture = 0.3 * predicted + 0.7 * np.eye(3)[truth]
    expected = float(np.mean(-(mixture * np.log(guess)).sum(axis=1)))
    assert float(TeacherLoss()(targets, guess.astype(np.float32))) == pytest.approx(expected, rel=1e-5)


def test_gradient_scale_does_not_depend_on_temperature() -> None:
    """For small logits the softened part matches logits (Hinton et al. 2015, section 2.1)."""
    import tensorflow as tf

    predicted = np.array([[0.35, 0.33, 0.32]], np.float32)
    gradients = []
    for temperature in (5.0, 20.0):
        logits = tf.Variable([[0.01, -0.02, 0.01]])
        targets = targets_of(predicted, np.array([-1], np.int32), weight=1.0, temperature=temperature)
        with tf.GradientTape() as tape:
            loss = TeacherLoss(temperature)(targets, tf.nn.softmax(logits))
        gradients.append(tape.gradient(loss, logits).numpy())
    np.testing.assert_allclose(*gradients, rtol=0.05)


def test_accuracy_uses_labels_and_teachers() -> None:
    targets = np.array([[0, 0, 0, 1], [0.9, 0.1, 0, 0], [0.2, 0.1, 0, 0.7]], np.float32)
    guess = np.array([[0.4, 0.6], [0.4, 0.6], [0.4, 0.6]], np.float32)
    np.testing.assert_array_equal(accuracy(targets, guess), [1, 0, 1])


def test_loss_is_serializable() -> None:
    loss = keras.losses.deserialize(keras.losses.serialize(TeacherLoss(2.5)))
    assert isinstance(loss, TeacherLoss)
    assert loss.temperature == 2.5


# Students


def test_student_learns_from_teachers(teacher: TrainResult, tweets: Path, tmp_path: Path) -> None:
    fitting = replace(QUICK, teacher_weight=0.8, teacher_temperature=2.0)
    teachers = Teachers((teacher.folder.path,))
    run: dict[str, Any] = {"network": SMALL, "fitting": fitting, "data": ROWS, "teachers": teachers}

    def copy(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if (epoch, done) == (1, 1):  # what a kill in the second epoch leaves
            shutil.copytree(tmp_path / "whole", tmp_path / "run")

    whole = train([tweets], tmp_path / "whole", progress=copy, **run)
    with np.load(tmp_path / "run/taught.npz") as kept:
        assert kept["train"].shape == (teacher.report.train, 2)
        assert kept["validation"].shape == (teacher.report.validation, 2)
        np.testing.assert_allclose(kept["train"].sum(axis=1), 1, atol=1e-5)
    resumed = train([tweets], tmp_path / "run", resume=True, network=SMALL, fitting=QUICK, data=ROWS)
    for mine, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert resumed.history.epochs[-1]["validation_accuracy"] > 0.85
    assert resumed.record.to_dict()["teachers"][0]["fingerprint"].startswith("sha256:")
    assert not (tmp_path / "run/taught.npz").exists()


def test_unlabeled_rows_teach_by_their_columns(tweets: Path, tmp_path: Path) -> None:
    """The labels are wrong and the teacher is right, so the result shows what the student learned from."""
    more = taught(tmp_path / "more.parquet", 600, seed=7)
    table = pq.read_table(tweets)
    wrong = pa.array(
        ["positive" if label == "negative" else "negative" for label in table["label"].to_pylist()]
    )
    few = tmp_path / "few.parquet"
    pq.write_table(table.set_column(1, "label", wrong).slice(0, 60), few)
    result = train(
        [few, more],
        tmp_path / "run",
        network=SMALL,
        fitting=replace(QUICK, epochs=6),
        data=ROWS,
        teachers=Teachers(columns="p_"),
    )
    assert result.report.validation == 12  # a fifth of those that somebody labeled
    assert result.history.epochs[-1]["validation_accuracy"] < 0.3
    assert result.record.to_dict()["teachers"] == [{"name": "columns p_*", "fingerprint": None}]
    assert result.record.to_dict()["data"][1]["without_label"] == 0


def test_training_without_labels(tmp_path: Path) -> None:
    path = taught(tmp_path / "tweets.parquet", 500, seed=3)
    teachers = Teachers(columns="p_")
    arguments: dict[str, Any] = {"network": SMALL, "fitting": QUICK, "data": ROWS, "teachers": teachers}
    with pytest.raises(UsageError, match="give the labels with --labels"):
        train([path], tmp_path / "a", **arguments)
    result = train([path], tmp_path / "b", labels=LABELS, **arguments)
    assert result.report.validation == 100
    assert result.history.epochs[-1]["validation_accuracy"] > 0.85


def test_unlabeled_repeat_of_a_labeled_row(tmp_path: Path) -> None:
    labeled = taught(tmp_path / "a.parquet", 300, seed=3, labeled=True)
    bare = taught(tmp_path / "b.parquet", 400, seed=3)
    result = train(
        [labeled, bare],
        tmp_path / "run",
        network=SMALL,
        fitting=replace(QUICK, epochs=1),
        data=ROWS,
        teachers=Teachers(columns="p_"),
    )
    texts = set(pq.read_table(labeled)["text"].to_pylist())
    repeated = sum(text in texts for text in pq.read_table(bare)["text"].to_pylist())
    report = result.report
    assert report.read == 700
    assert report.duplicates >= repeated
    assert report.train + report.validation + report.duplicates + report.conflicting + report.blank == 700


def test_fine_tuning_with_teachers(teacher: TrainResult, tmp_path: Path) -> None:
    more = taught(tmp_path / "more.parquet", 300, seed=11, sure=0.8)
    result = fine_tune(
        teacher.folder.path,
        [more],
        tmp_path / "run",
        fitting=QUICK,
        data=ROWS,
        labels=LABELS,
        thaw="all",
        teachers=Teachers(columns="p_"),
    )
    guess = result.model.predict(np.ones((1, 3), np.int32), verbose=0)
    assert guess.shape == (1, 2)
    assert result.history.epochs[-1]["validation_accuracy"] > 0.8


#: In three stages; the chain, which has more of them, is gone through in ``runs/test_train.py``.
GRADUAL: dict[str, Any] = {
    "fitting": replace(QUICK, epochs=2, patience=2),
    "data": ROWS,
    "thaw": "gradual",
}


#: Stages and epochs in which a kill is looked at.
STOPS = [(0, 0), (1, 1), (2, 0)]


@pytest.fixture(scope="module")
def whole(teacher: TrainResult, tweets: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """An uninterrupted fine-tuning, and its folder as kills would have left it."""
    output, stage = tmp_path_factory.mktemp("runs") / "whole", [-1]

    def copy(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if epoch == 0 and done == 1:
            stage[0] += 1
        if (stage[0], epoch) in STOPS and done == 2:
            shutil.copytree(output, output.with_name(f"killed-{stage[0]}-{epoch}"))

    return fine_tune(teacher.folder.path, [tweets], output, progress=copy, **GRADUAL)


@pytest.mark.parametrize(("stage", "epoch"), STOPS)
def test_fine_tuning_resumes_to_the_same_weights(
    teacher: TrainResult, whole: TrainResult, tweets: Path, tmp_path: Path, stage: int, epoch: int
) -> None:
    shutil.copytree(whole.folder.path.with_name(f"killed-{stage}-{epoch}"), tmp_path / "run")
    resumed = fine_tune(
        teacher.folder.path, [tweets], tmp_path / "run", resume=True, fitting=FitConfig(), data=DataConfig()
    )
    for mine, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    losses = [[epoch["loss"] for epoch in one.history.epochs] for one in (resumed, whole)]
    assert losses[0] == losses[1]
    names = [{path.name for path in one.folder.path.iterdir()} for one in (resumed, whole)]
    assert names[0] == names[1]
    assert not any(name.startswith(("stage", "checkpoint", "best", "taught")) for name in names[0])


def test_fine_tuning_resumes_with_its_own_data_only(
    teacher: TrainResult, whole: TrainResult, tweets: Path, tmp_path: Path
) -> None:
    killed = whole.folder.path.with_name("killed-1-1")
    with pytest.raises(CheckpointError, match="does not exist"):
        fine_tune(teacher.folder.path, [tweets], tmp_path / "none", resume=True, **GRADUAL)
    other = write_synthetic(tmp_path / "other.parquet", 90, seed=8)
    with pytest.raises(CheckpointError, match="other data"):
        fine_tune(teacher.folder.path, [other], killed, resume=True, **GRADUAL)


def test_killed_fine_tuning_resumes(
    teacher: TrainResult, tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kill -9 from the command line, within a stage after the first."""
    output = tmp_path / "run"
    command = ["fine-tune", str(teacher.folder.path), str(tweets), "--output", str(output)]
    command += ["--validation", "0.2"]
    long = [sys.executable, "-m", "sentstream", *command, "--epochs", "2", "--batch-size", "8"]
    kill_once(output / "stages.json", [*long, "--thaw", "gradual"])
    assert main([*command, "--resume", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["training"]["epochs"] == 2
    assert len(run["history"]) == 2 * len(run["fine_tuning"]["stages"])
    assert [epoch["epoch"] for epoch in run["history"]] == list(range(1, len(run["history"]) + 1))


# What is held out


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.sampled_from(["a good day", "A good day!", "@me a good day", "other", "", "!!"]), max_size=6)
)
def test_repeats_of_held_out_texts_are_omitted(texts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data, held = Path(folder, "data.parquet"), Path(folder, "held.parquet")
        pq.write_table(pa.table({"text": [*texts, "kept"], "label": ["x"] * (len(texts) + 1)}), data)
        pq.write_table(pa.table({"text": ["a GOOD day http://t.co/x", "?", ""]}), held)
        left = leave_out(read_labeled([data]), read_labeled([held], keep_unlabeled=True), DataConfig())
    assert left.text.to_pylist() == [text for text in [*texts, "kept"] if "ood day" not in text]
    assert len(left.row) == len(left)


def test_held_out_rows_belong_to_the_run(tweets: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.parquet"
    pq.write_table(pq.read_table(tweets).slice(0, 100), held)
    arguments: dict[str, Any] = {"network": SMALL, "fitting": replace(QUICK, epochs=2), "data": ROWS}

    def kill(epoch: int, *_: Any) -> None:
        if epoch:
            raise Killed

    with pytest.raises(Killed):
        train([tweets], tmp_path / "run", without=[held], progress=kill, **arguments)
    with pytest.raises(
        CheckpointError, match=r"other held-out rows \(it was started with --without held.parquet\)"
    ):
        train([tweets], tmp_path / "run", resume=True, **arguments)
    result = train([tweets], tmp_path / "run", without=[held], resume=True, **arguments)
    assert result.record.to_dict()["rows"]["repeat_held_out"] >= 100
    assert result.report.read == 600 - result.record.to_dict()["rows"]["repeat_held_out"]
    assert result.record.to_dict()["held_out"][0]["name"] == "held.parquet"


def test_vocabulary_from_additional_texts(tweets: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.parquet"
    pq.write_table(pa.table({"text": ["brandnew words here"] * 500}), more)
    network = replace(SMALL, pairs=50)
    fitting = replace(QUICK, epochs=1)
    result = train(
        [tweets], tmp_path / "run", network=network, fitting=fitting, data=ROWS, vocabulary_text=[more]
    )
    vocabulary = result.folder.read_vocabulary(TextRules())
    words = vocabulary.words.to_pylist()
    assert {"brandnew", "words", "here"} <= set(words)
    assert [words.index("brandnew"), words.index("words")] in vocabulary.pairs.tolist()
    assert result.record.to_dict()["vocabulary"]["also_from"] == ["more.parquet"]


# What does not fit


def test_incompatible_teacher_is_rejected(teacher: TrainResult, tweets: Path, tmp_path: Path) -> None:
    teachers = Teachers((teacher.folder.path,))
    three = write_synthetic(tmp_path / "three.parquet", 60, neutral=True)
    with pytest.raises(UsageError, match="this run has negative, neutral, positive"):
        train([three], tmp_path / "a", network=SMALL, fitting=QUICK, data=ROWS, teachers=teachers)
    quick = replace(QUICK, epochs=1)
    train([tweets], tmp_path / "a", network=SMALL, fitting=quick, data=ROWS)  # nothing stands in the way


def test_teacher_reads_by_its_own_rules(teacher: TrainResult, tweets: Path, tmp_path: Path) -> None:
    table = pq.read_table(tweets)
    loud = tmp_path / "loud.parquet"  # words that the teacher knows only in lowercase
    pq.write_table(table.set_column(0, "text", pc.utf8_upper(table["text"])), loud)
    other = Settings(None, QUICK, replace(ROWS, rules=TextRules(lowercase=False)), Columns(), None)
    asked = Teachers((teacher.folder.path,))
    rows = prepare([loud], other, teachers=asked)
    (shares, _), _ = rows.taught(asked, other)
    opened = open_trained(teacher.folder.path)
    texts = read_labeled([loud]).text.take(pa.array(rows.split.train_rows))
    scored = Session(as_bundle(opened), "cpu").probabilities(opened.text.encode(texts))
    np.testing.assert_array_equal(shares, scored[:, [opened.labels.index(label) for label in rows.labels]])


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"positive": pa.array([0.3] * 40)}, DataError, "row 0: the teacher's .* are not probabilities"),
        ({"positive": pa.array([-0.1] * 40)}, DataError, "not probabilities"),
        ({"positive": pa.array([None] * 40, pa.float32())}, DataError, "not probabilities"),
        ({"positive": pa.array(["much"] * 40)}, ColumnTypeError, "p_positive is string"),
    ],
)
def test_invalid_teacher_columns_are_rejected(
    tmp_path: Path, columns: dict[str, Any], kind: type[Exception], message: str
) -> None:
    path = taught(tmp_path / "tweets.parquet", 40, seed=1, labeled=True, **columns)
    with pytest.raises(kind, match=message):
        train(
            [path], tmp_path / "run", network=SMALL, fitting=QUICK, data=ROWS, teachers=Teachers(columns="p_")
        )


def test_missing_columns_are_named(tweets: Path, tmp_path: Path) -> None:
    path = taught(tmp_path / "tweets.parquet", 40, seed=1, labeled=True)
    arguments: dict[str, Any] = {"network": SMALL, "fitting": QUICK, "data": ROWS}
    with pytest.raises(ColumnNotFoundError, match="no file has the teacher's columns q_negative, q_positive"):
        train([path, tweets], tmp_path / "run", teachers=Teachers(columns="q_"), **arguments)
    pq.write_table(pq.read_table(path).drop(["p_positive"]), path)
    with pytest.raises(ColumnNotFoundError, match="has no teacher's column p_positive"):
        train([path], tmp_path / "other", teachers=Teachers(columns="p_"), **arguments)


def test_command_errors_are_one_line(tweets: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = ["train", str(tweets), "--output", str(tmp_path / "run"), "--teacher-columns", "none_"]
    assert main(arguments) == ColumnNotFoundError.exit_code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "check --teacher-columns and --labels" in error
    assert not (tmp_path / "run/run.json").exists()
