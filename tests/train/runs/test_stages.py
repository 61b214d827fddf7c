"""Fine-tuning undoes a stage unless held-out rows show that the model improved."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import synthetic_table, write_synthetic

pytest.importorskip("tensorflow")

import keras

from sentstream.cli import main
from sentstream.errors import CheckpointError, TrainingError
from sentstream_train.config import DataConfig, FitConfig, NetworkConfig
from sentstream_train.fit.epochs import History
from sentstream_train.runs.fine_tune import fine_tune
from sentstream_train.runs.result import TrainResult, few_rows, overfitting
from sentstream_train.runs.stages import Tuner
from sentstream_train.runs.train import train
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import Figures

SMALL = NetworkConfig(words=200, min_count=1, embedding=8, units=(8,), pooling="max")
ROWS = DataConfig(validation=0.2)


@pytest.fixture(scope="module", name="before")
def _before(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    folder = tmp_path_factory.mktemp("before")
    data = write_synthetic(folder / "tweets.parquet", 600)
    fitting = FitConfig(epochs=5, batch_size=32, learning_rate=2e-2)
    result = train([data], folder / "run", network=SMALL, fitting=fitting, data=ROWS)
    assert result.record.metrics["validation"]["accuracy"] > 0.9
    return result


def relabeled(path: Path, change: Any) -> Path:
    """Tweets with changed labels."""
    table = synthetic_table(300, seed=4)
    labels = change(table["label"].to_pylist())
    pq.write_table(table.set_column(1, "label", pa.array(labels)), path)
    return path


def shuffled(path: Path) -> Path:
    """Tweets with random labels."""
    return relabeled(path, lambda labels: np.random.default_rng(1).permutation(labels).tolist())


def test_shuffled_labels_change_nothing_and_are_reported(
    before: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shuffled(tmp_path / "rows.parquet")
    command = ["fine-tune", str(before.folder.path), str(rows), "--output", str(tmp_path / "run")]
    more = ["--validation", "0.4", "--thaw", "gradual", "--epochs", "3", "--learning-rate", "0.005"]
    assert main([*command, *more]) == 0
    printed = capsys.readouterr()
    assert "no stage was better on the held-out rows than the original model, which is kept" in printed.err
    assert "no better than guessing on the" in printed.err
    assert "held-out rows are few" in printed.err
    for stage in ("probabilities", "rnn_1 and later", "embedding and later"):
        assert f"stage {stage}, epoch 1: loss" in printed.err  # standard error is no terminal here
    lines = [line for line in printed.out.splitlines() if "none: " in line]
    assert len(lines) == 3
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert [stage["kept"] for stage in run["stages"]] == [0, 0, 0]
    assert all(stage["after"] == stage["before"] for stage in run["stages"])
    assert run["metrics"]["validation"]["epoch"] == 0
    assert run["metrics"]["validation"]["accuracy"] == run["stages"][0]["before"]["accuracy"]
    after = keras.saving.load_model(tmp_path / "run/model.keras", safe_mode=True)
    for mine, theirs in zip(after.get_weights(), before.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_better_stage_is_kept_and_shown(
    before: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With inverted labels, the old model is all wrong, and the new one all right."""
    other = {"negative": "positive", "positive": "negative"}
    turned = relabeled(tmp_path / "rows.parquet", lambda labels: [other[label] for label in labels])
    command = ["fine-tune", str(before.folder.path), str(turned), "--output", str(tmp_path / "run"), "--json"]
    more = ["--validation", "0.4", "--thaw", "head", "--epochs", "8", "--learning-rate", "0.1"]
    assert main([*command, *more]) == 0
    result = json.loads(capsys.readouterr().out)
    (stage,) = result["stages"]
    assert stage["before"]["accuracy"] < 0.1
    assert stage["after"]["accuracy"] > 0.9
    assert stage["kept"] == result["metrics"]["validation"]["epoch"] > 0
    assert [epoch["stage"] for epoch in result["history"]] == [1] * stage["epochs"]
    kept = result["history"][stage["kept"] - 1]
    assert stage["after"] == {"loss": kept["validation_loss"], "accuracy": kept["validation_accuracy"]}
    assert not any("no stage" in line for line in result["warnings"])


def test_divergence_error_suggests_an_option(
    before: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shuffled(tmp_path / "rows.parquet")
    command = ["fine-tune", str(before.folder.path), str(rows), "--output", str(tmp_path / "run")]
    more = ["--thaw", "head", "--learning-rate", "1e5", "--schedule", "constant", "--clip-norm", "0"]
    assert main([*command, *more]) == TrainingError.exit_code
    error = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    assert len(error) == 1
    assert "the training diverged" in error[0]
    assert "lower --learning-rate (it is 100000), or set --clip-norm 1" in error[0]


def test_fine_tuning_of_an_earlier_version_cannot_be_resumed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json(folder.stages, {"stages": 1, "epochs": [], "best_epoch": 1})
    with pytest.raises(CheckpointError, match=r"was started by an earlier version .*another --output"):
        Tuner(folder, SimpleNamespace(), (), None, None, [], True, None, None)  # type: ignore[arg-type]


def curve(*losses: tuple[float, float], best: int, start: float | None = None) -> History:
    """A curve of (loss, held-out loss)."""
    epochs = [
        {"epoch": index, "loss": mine, "validation_loss": theirs, "accuracy": 0.5, "validation_accuracy": 0.5}
        for index, (mine, theirs) in enumerate(losses, start=1)
    ]
    return History(epochs, best, start=None if start is None else Figures(start, 0.5))


def test_overfitting_gives_a_warning() -> None:
    learned_by_heart = curve((0.6, 0.6), (0.5, 0.55), (0.2, 0.7), (0.1, 0.9), best=2)
    (line,) = overfitting(learned_by_heart, 2, "--dropout")
    assert "after epoch 2 the validation loss rose from 0.550 to 0.900" in line
    assert "training loss is 0.100; epoch 2 is kept; --dropout may help" in line
    (line,) = overfitting(learned_by_heart, 0, "--dropout")
    assert "the last epoch is kept (--patience 2 keeps the best)" in line
    (line,) = overfitting(curve((0.4, 0.6), (0.1, 0.8), best=0, start=0.5), 2, "--thaw head")
    assert "after epoch 0 the validation loss rose from 0.500 to 0.800" in line
    for fine in (
        curve((0.6, 0.6), (0.5, 0.55), best=2),
        curve((0.6, 0.6), (0.5, 0.605), best=1),  # the last digits
        curve((0.6, 0.6), (0.7, 0.8), best=1),  # it learned nothing at all
        curve((0.8, 0.6), (0.7, 0.65), best=1),  # under dropout
    ):
        assert overfitting(fine, 2, "--dropout") == ()


def test_few_held_out_rows_give_a_warning() -> None:
    (line,) = few_rows(20, 0.7)
    assert (
        "20 held-out rows are few: an accuracy of 70.0% on them may be 48.1% to 85.5% on other rows" in line
    )
    assert "--validation" in line
    assert few_rows(1000, 0.7) == ()


def test_epochs_are_counted_across_stages(before: TrainResult, tmp_path: Path) -> None:
    """Without early stopping, the last epoch of a stage counts, and a worse one is not kept either."""
    rows = relabeled(tmp_path / "rows.parquet", list)
    fitting = FitConfig(epochs=1, batch_size=32, learning_rate=1e-4, patience=0, clip_norm=0.0)
    reported: list[tuple[str, float]] = []
    result = fine_tune(
        before.folder.path,
        [rows],
        tmp_path / "run",
        fitting=fitting,
        data=DataConfig(validation=0.4),
        thaw="gradual",
        on_epoch=lambda stage, record: reported.append((stage, record["epoch"])),
    )
    assert reported == [(name, 1) for name in ("probabilities", "rnn_1 and later", "embedding and later")]
    assert [(epoch["stage"], epoch["epoch"]) for epoch in result.history.epochs] == [(1, 1), (2, 2), (3, 3)]
    accuracies = [stage.after.accuracy for stage in result.record.stages]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] >= result.record.stages[0].before.accuracy
