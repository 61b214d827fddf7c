"""Training as a whole: it learns, resumes bit for bit, fine-tunes, and reports errors."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import kill_once
from synthetic import write_synthetic

pytest.importorskip("tensorflow")

import keras

from sentstream.cli import main
from sentstream.errors import CheckpointError, OutputExistsError, UsageError
from sentstream.model import Model
from sentstream.text import UNKNOWN, Encoded, TextRules
from sentstream_train.config import (
    ARCHITECTURES,
    DataConfig,
    FitConfig,
    NetworkConfig,
    from_dict,
    override,
    to_dict,
)
from sentstream_train.data.batches import Examples, LengthBatches
from sentstream_train.network.model import build_model
from sentstream_train.runs.fine_tune import fine_tune, with_labels
from sentstream_train.runs.result import TrainResult
from sentstream_train.runs.stages import plan_stages
from sentstream_train.runs.train import train

SMALL = NetworkConfig(
    words=200, pairs=100, min_count=1, embedding=8, units=(8,), pooling="mean-max", dropout=0.2
)
CELLS = ("simple", "gru", "lstm")
QUICK = FitConfig(epochs=3, batch_size=32, learning_rate=1e-2)
ROWS = DataConfig(validation=0.2)


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "tweets.parquet", 900)


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run, and its folder as a kill in the second epoch would have left it."""

    result: TrainResult
    killed: Path


@pytest.fixture(scope="module")
def whole(tweets: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("runs")
    network = replace(SMALL, embedding_dropout=0.1, pair_dropout=0.3, word_dropout=0.05)

    def copy(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if (epoch, done) == (1, 3):
            shutil.copytree(folder / "run", folder / "killed")

    result = train([tweets], folder / "run", network=network, fitting=QUICK, data=ROWS, progress=copy)
    return Whole(result, folder / "killed")


@pytest.fixture(scope="module")
def trained(whole: Whole) -> TrainResult:
    return whole.result


def test_model_learns(trained: TrainResult) -> None:
    assert trained.history.epochs[-1]["validation_accuracy"] > 0.9
    assert trained.report.train + trained.report.validation == 900
    run = json.loads(trained.folder.run.read_text())
    assert run["labels"] == ["negative", "positive"]
    assert run["metrics"]["validation"]["n"] == trained.report.validation
    assert run["data"][0]["name"] == "tweets.parquet"
    assert len(run["data"][0]["sha256"]) == 64
    assert trained.folder.path.joinpath("curve.png").read_bytes()[:4] == b"\x89PNG"
    assert len(trained.folder.path.joinpath("log.csv").read_text().splitlines()) == 4
    leftovers = {path.name for path in trained.folder.path.iterdir()} & {
        "checkpoint.json",
        "checkpoint-3.keras",
    }
    assert not leftovers


def test_saved_model_loads_without_custom_objects(trained: TrainResult) -> None:
    loaded = keras.saving.load_model(trained.folder.model, safe_mode=True)
    for mine, theirs in zip(trained.model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_resumed_run_has_the_same_weights(whole: Whole, tweets: Path) -> None:
    trained = whole.result
    # What a resumed run is told is ignored: it goes on with the settings it began with.
    result = train([tweets], whole.killed, network=SMALL, fitting=FitConfig(), data=ROWS, resume=True)
    assert [epoch["loss"] for epoch in result.history.epochs] == [e["loss"] for e in trained.history.epochs]
    for mine, theirs in zip(result.model.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_killed_process_resumes(tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9 after the first checkpoint, from the command line."""
    output = tmp_path / "run"
    command = ["train", str(tweets), "--output", str(output)]
    options = "--words 200 --pairs 0 --min-count 1 --embedding 8 --units 8 --pooling last --batch-size 8"
    long = [sys.executable, "-m", "sentstream", *command, *options.split(), "--epochs", "200"]
    kill_once(output / "checkpoint.json", long)
    run = json.loads(output.joinpath("run.json").read_text())
    before = json.loads(output.joinpath("checkpoint.json").read_text())["epochs"]
    run["training"]["epochs"] = len(before) + 1  # one epoch more is enough here
    output.joinpath("run.json").write_text(json.dumps(run))
    assert main([*command, "--resume", "--json"]) == 0
    history = json.loads(capsys.readouterr().out)["history"]
    assert history[: len(before)] == before
    assert len(history) == len(before) + 1


def test_version_3_rules_are_trained_and_exported(tmp_path: Path) -> None:
    """From the command line: training, the bundle, and what it reads."""
    data, run, bundle = (tmp_path / name for name in ("tweets.parquet", "run", "bundle"))
    texts = [f"{word} {number} #SoGood" for number in range(100, 200) for word in ("love", "hate")]
    pq.write_table(pa.table({"text": texts, "label": ["positive", "negative"] * 100}), data)
    options = "--words 200 --pairs 20 --min-count 1 --embedding 8 --units 8 --epochs 1 --batch-size 32"
    command = ["train", str(data), "--output", str(run), "--text-rules", "tweets-3", *options.split()]
    assert main(command) == 0
    assert main(["export-onnx", str(run), "--output", str(bundle)]) == 0
    model = Model.load(bundle, provider="cpu", threads=1)
    assert model.bundle.text.rules == TextRules.preset("tweets-3")
    encoded = model.bundle.text.encode(pa.array(["#SoGood", "#sogood", "# so good", "#lovehate"]))
    rows = [encoded.words[start:stop].tolist() for start, stop in itertools.pairwise(encoded.offsets)]
    assert rows[0] == rows[1] == rows[2]
    assert UNKNOWN not in rows[3]


def test_invalid_resume_or_overwrite_is_rejected(trained: TrainResult, tweets: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="already exists"):
        train([tweets], trained.folder.path, network=SMALL, fitting=QUICK, data=ROWS)
    with pytest.raises(CheckpointError, match="finished"):
        train([tweets], trained.folder.path, network=SMALL, fitting=QUICK, data=ROWS, resume=True)
    with pytest.raises(CheckpointError, match="does not exist"):
        train([tweets], tmp_path / "nothing", network=SMALL, fitting=QUICK, data=ROWS, resume=True)
    other = write_synthetic(tmp_path / "other.parquet", 50, seed=5)
    run = json.loads(trained.folder.run.read_text())
    del run["finished"]
    folder = tmp_path / "unfinished"
    folder.mkdir()
    folder.joinpath("run.json").write_text(json.dumps(run))
    with pytest.raises(CheckpointError, match="other data"):
        train([other], folder, network=SMALL, fitting=QUICK, data=ROWS, resume=True)


def test_early_stopping_keeps_the_best_epoch(
    tweets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network answers the same to every row, an answer that each epoch changes as planned."""
    plan = [0.5, 0.2, 0.1, 0.3, 0.4, 0.1]  # the validation loss falls twice, and is never as low again
    made: list[keras.Sequential] = []

    def build(*arguments: Any, **options: Any) -> keras.Sequential:
        made.append(build_model(*arguments, **options))
        return made[-1]

    def answer(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if done == total:
            kernel, bias = made[0].layers[-1].weights
            kernel.assign(np.zeros(kernel.shape))
            bias.assign([10 * plan[epoch], 0.0])

    monkeypatch.setattr("sentstream_train.runs.train.build_model", build)
    fitting = replace(QUICK, epochs=len(plan), patience=2)
    result = train([tweets], tmp_path / "run", network=SMALL, fitting=fitting, data=ROWS, progress=answer)
    losses = [epoch["validation_loss"] for epoch in result.history.epochs]
    assert losses[0] > losses[1] > losses[2] < losses[3] < losses[4]
    assert len(losses) == 5
    assert result.history.best_epoch == result.record.to_dict()["metrics"]["validation"]["epoch"] == 3
    assert result.record.to_dict()["metrics"]["validation"]["loss"] == losses[2]
    loaded = keras.saving.load_model(result.folder.model, safe_mode=True)
    for model in (result.model, loaded):
        np.testing.assert_array_equal(model.layers[-1].bias, np.float32([1.0, 0.0]))


def test_default_network_has_four_layers() -> None:
    model = build_model(ARCHITECTURES["seed"], words=50, pairs=0, classes=2, seed=1)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Embedding", "SimpleRNN", "SimpleRNN", "Dense"]
    assert model.layers[1].return_sequences
    assert not model.layers[2].return_sequences
    assert model.layers[3].activation.__name__ == "softmax"
    assert model.layers[0].mask_zero


@pytest.mark.parametrize(
    ("pooling", "cell"),
    [
        *((pooling, cell) for pooling in ("last", "mean-max") for cell in CELLS),
        ("mean", "gru"),
        ("max", "lstm"),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(cell: str, bidirectional: bool, pooling: str) -> None:
    network = override(SMALL, units=(8, 8), cell=cell, bidirectional=bidirectional, pooling=pooling)
    model = build_model(network, words=20, pairs=10, classes=3, seed=2)
    random = np.random.default_rng(0)
    bare = np.stack((random.integers(1, 20, (4, 5)), random.integers(0, 10, (4, 5))), axis=-1).astype(
        np.int32
    )
    padded = np.concatenate((bare, np.zeros((4, 3, 2), np.int32)), axis=1)
    np.testing.assert_allclose(model(bare), model(padded), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_states_are_clipped_as_requested(cell: str) -> None:
    for given, expected in (({}, "tanh"), ({"activation": "hard_tanh"}, "hard_tanh")):
        network = override(SMALL, cell=cell, units=(8, 8), **given)
        model = build_model(network, words=20, pairs=10, classes=3, seed=2)
        for name in ("rnn_1", "rnn_2"):
            assert model.get_layer(name).activation.__name__ == expected


def test_settings_round_trip_and_reject_invalid_values() -> None:
    for settings in (SMALL, QUICK, ROWS):
        assert from_dict(type(settings), json.loads(json.dumps(to_dict(settings)))) == settings
    for kind, values, message in [
        (NetworkConfig, {"units": []}, "recurrent"),
        (NetworkConfig, {"dropout": 1.0}, "dropout"),
        (NetworkConfig, {"cell": "quantum"}, "cell"),
        (NetworkConfig, {"activation": "relu"}, "activation must be one of tanh, hard_tanh, not 'relu'"),
        (NetworkConfig, {"depth": 3}, "depth"),
        (FitConfig, {"learning_rate": 0}, "learning rate"),
        (FitConfig, {"weight_decay": 0.1}, "adamw"),
        (DataConfig, {"validation": 0}, "held out"),
        (DataConfig, {"conflicts": "vote"}, "conflicts"),
    ]:
        with pytest.raises(UsageError, match=message):
            from_dict(kind, values)  # type: ignore[type-var]


def test_unfreezing_stages() -> None:
    layers = ["embedding", "rnn_1", "rnn_2", "head"]
    chain = [stage.layers for stage in plan_stages(layers, "chain")]
    assert chain == [{"head"}, {"embedding"}, {"rnn_1"}, {"rnn_2"}, set(layers)]
    gradual = [stage.layers for stage in plan_stages(layers, "gradual")]
    assert gradual == [{"head"}, {"rnn_2", "head"}, {"rnn_1", "rnn_2", "head"}, set(layers)]
    assert [stage.layers for stage in plan_stages(layers, "head")] == [{"head"}]
    assert [stage.layers for stage in plan_stages(layers, "all")] == [set(layers)]
    with pytest.raises(UsageError, match="thaw"):
        plan_stages(layers, "melt")  # type: ignore[arg-type]


def test_new_head_keeps_known_labels(trained: TrainResult) -> None:
    wider = with_labels(trained.model, ["negative", "positive"], ["negative", "neutral", "positive"], seed=1)
    old, new = trained.model.layers[-1].get_weights(), wider.layers[-1].get_weights()
    np.testing.assert_array_equal(new[0][:, [0, 2]], old[0])
    np.testing.assert_array_equal(new[1][[0, 2]], old[1])
    assert wider.output_shape == (None, 3)


def test_fine_tuning_to_three_classes_with_a_hundred_rows(trained: TrainResult, tmp_path: Path) -> None:
    data = write_synthetic(tmp_path / "three.parquet", 100, neutral=True, seed=9)
    fitting = FitConfig(epochs=2, batch_size=16, learning_rate=1e-2, patience=2, schedule="linear")
    result = fine_tune(trained.folder.path, [data], tmp_path / "tuned", fitting=fitting, data=ROWS)
    assert result.record.to_dict()["labels"] == ["negative", "neutral", "positive"]
    assert result.record.to_dict()["fine_tuning"]["stages"][0] == "probabilities"
    assert result.history.epochs[-1]["epoch"] == len(result.history.epochs) > 5
    known = result.folder.read_vocabulary(TextRules())
    assert known.words.equals(trained.folder.read_vocabulary(TextRules()).words)
    assert result.record.to_dict()["metrics"]["validation"]["accuracy"] > 0.5
    again = keras.saving.load_model(result.folder.model, safe_mode=True)
    assert all(layer.trainable for layer in again.layers)


def test_fine_tuning_freezes_the_named_layers(trained: TrainResult, tweets: Path, tmp_path: Path) -> None:
    """With inverted labels, so that the new weights are far better and kept."""
    before = [
        np.array(weight)
        for weight in trained.folder and keras.saving.load_model(trained.folder.model).get_weights()
    ]
    table, other = pq.read_table(tweets), {"negative": "positive", "positive": "negative"}
    turned = pa.array([other[label] for label in table["label"].to_pylist()])
    pq.write_table(table.set_column(1, "label", turned), tmp_path / "turned.parquet")
    fitting = FitConfig(epochs=3, batch_size=64, learning_rate=0.1)
    result = fine_tune(
        trained.folder.model,
        [tmp_path / "turned.parquet"],
        tmp_path / "tuned",
        fitting=fitting,
        data=ROWS,
        thaw="head",
    )
    after = result.model.get_weights()
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(same[:-2])
    assert not all(same[-2:])


def test_first_two_batches_differ_in_length_if_possible() -> None:
    """Keras takes what they have in common for the shape of all, and fails at the first other one."""
    lengths = np.array([2] * 40 + [5] * 3 + [7])
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    rows = Encoded(offsets, np.ones(offsets[-1], np.int32), None)
    examples = Examples(rows, np.zeros(len(lengths), np.int32))
    for seed in (None, *range(20)):
        batches = LengthBatches(examples, 4, 64, seed)
        for epoch in range(3):
            batches.begin_epoch(epoch)
            widths = [batches[index][0].shape[1] for index in range(len(batches))]
            assert widths[0] != widths[1]
            assert sorted(np.concatenate(batches.batches).tolist()) == list(range(len(lengths)))
    only = Examples(Encoded(np.arange(0, 41, 2), np.ones(40, np.int32), None), np.zeros(20, np.int32))
    assert len(LengthBatches(only, 4, 64, 1)) == 5
