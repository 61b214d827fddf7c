"""Options of a run besides its rows: more epochs after its end, word vectors, class weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import write_synthetic

pytest.importorskip("tensorflow")

from sentstream.cli import main
from sentstream.errors import CheckpointError, UsageError
from sentstream_train.config import DataConfig, FitConfig, NetworkConfig
from sentstream_train.data.embeddings import open_embeddings
from sentstream_train.fit.distill import Teachers
from sentstream_train.network.model import build_model, set_word_vectors
from sentstream_train.runs.train import train
from sentstream_train.store.folder import RunFolder

SMALL = NetworkConfig(words=200, min_count=1, embedding=6, units=(6,), pooling="max", dropout=0.2)
QUICK = FitConfig(epochs=2, batch_size=32, learning_rate=1e-2)
ROWS = DataConfig(validation=0.2)


@pytest.fixture(scope="module", name="tweets")
def _tweets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "tweets.parquet", 500)


@pytest.fixture(scope="module", name="finished")
def _finished(tweets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    train([tweets], output, network=SMALL, fitting=QUICK, data=ROWS)
    return output


def test_more_epochs_survive_a_kill(
    finished: Path, tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = tmp_path / "whole", [tmp_path / "killed-0", tmp_path / "killed-1"]
    shutil.copytree(finished, whole)
    first = json.loads((whole / "log.json").read_text())

    def copy(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if done == 2:
            shutil.copytree(whole, killed[epoch - 2])

    arguments: dict[str, Any] = {"network": SMALL, "fitting": QUICK, "data": ROWS, "resume": True}
    result = train([tweets], whole, epochs=4, progress=copy, **arguments)
    assert [epoch["epoch"] for epoch in result.history.epochs] == [1, 2, 3, 4]
    assert result.history.epochs[:2] == first
    assert result.history.epochs[3]["validation_loss"] < first[-1]["validation_loss"]
    run = json.loads((whole / "run.json").read_text())
    assert run["training"]["epochs"] == 4
    assert run["begun"] == 2
    assert {path.name for path in whole.iterdir()} == {path.name for path in finished.iterdir()}
    # Before the first further epoch is done, and after it; the model of before can be used all the while.
    for index, folder in enumerate(killed):
        assert "finished" not in json.loads((folder / "run.json").read_text())
        assert (folder / "model.keras").read_bytes() == (finished / "model.keras").read_bytes()
        assert (folder / "checkpoint-3.keras").exists() == bool(index)
        resumed = train([tweets], folder, **arguments)
        for mine, theirs in zip(resumed.model.get_weights(), result.model.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    command = ["train", str(tweets), "--output", str(whole), "--resume"]
    for more, message in (([], "the run is finished, after 4 epochs"), (["--epochs", "4"], "after 4 epochs")):
        assert main([*command, *more]) == CheckpointError.exit_code
        error = capsys.readouterr().err
        assert message in error
        assert "train more with --resume --epochs N" in error
        assert error.count("\n") == 1


def test_further_epochs_need_the_teachers_again(finished: Path, tweets: Path, tmp_path: Path) -> None:
    output, teachers = tmp_path / "run", Teachers((finished,))
    arguments: dict[str, Any] = {"network": SMALL, "fitting": replace(QUICK, epochs=1), "data": ROWS}
    train([tweets], output, teachers=teachers, **arguments)
    with pytest.raises(CheckpointError, match=r"learned from run \(give the same teachers again\)"):
        train([tweets], output, resume=True, epochs=2, **arguments)
    with pytest.raises(CheckpointError, match="learned from other teachers: run"):
        train([tweets], output, resume=True, epochs=2, teachers=Teachers((output,)), **arguments)
    result = train([tweets], output, resume=True, epochs=2, teachers=teachers, **arguments)
    assert len(result.history.epochs) == 2
    assert not (output / "taught.npz").exists()


@pytest.mark.parametrize("pairs", [0, 10])
def test_words_start_from_given_vectors(pairs: int) -> None:
    network = replace(SMALL, pairs=pairs)
    model, same = (build_model(network, words=20, pairs=pairs, classes=2, seed=3) for _ in range(2))
    words, vectors = np.array([3, 7]), np.arange(12, dtype=np.float32).reshape(2, 6)
    set_word_vectors(model, words, vectors)
    table, drawn = (one.get_layer("embedding").get_weights()[0] for one in (model, same))
    np.testing.assert_array_equal(table[words], vectors)
    others = np.setdiff1d(np.arange(20), words)
    np.testing.assert_array_equal(table[others], drawn[others])


def test_word_vectors_survive_a_kill(
    tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, with class weights; stderr, which is no terminal, shows the progress."""
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{word} {' '.join(['0.25'] * 6)}\n" for word in ("love", "hate", "unheard-of")))
    options = "--arch seed --words 200 --min-count 1 --units 6 --validation 0.2 --epochs 1 --batch-size 32"
    command = ["train", str(tweets), "--output", str(tmp_path / "run"), *options.split()]
    more = ["--embeddings", str(file), "--class-weights", "negative=3,positive=1"]
    assert main([*command, *more]) == UsageError.exit_code  # seed's embedding is wider
    error = capsys.readouterr().err
    assert "has 6 numbers per word, but the network's embedding is 96 wide (give --embedding 6)" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert main([*command, *more, "--embedding", "6", "--json"]) == 0
    printed = capsys.readouterr()
    run = json.loads(printed.out)
    vectors = run["embeddings"]
    assert (vectors["name"], vectors["width"], vectors["words"]) == ("vectors.txt", 6, 2)
    assert 0 < vectors["tokens"] < 0.5
    assert f"embeddings: vectors.txt has 2 of the {vectors['of_words']:,} words (" in printed.err
    assert "epoch 1: loss" in printed.err
    assert run["training"]["class_weights"] == {"negative": 3.0, "positive": 1.0}
    assert not (tmp_path / "run/vectors.npz").exists()


def test_kill_before_first_checkpoint_keeps_the_vectors(tweets: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text(f"love {' '.join(['3'] * 6)}\n")

    def copy(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if done == 1:
            shutil.copytree(tmp_path / "run", tmp_path / "killed")

    arguments: dict[str, Any] = {"network": SMALL, "fitting": replace(QUICK, epochs=1), "data": ROWS}
    whole = train(
        [tweets],
        tmp_path / "run",
        embeddings=open_embeddings(file),
        progress=copy,
        **arguments,
    )
    resumed = train([tweets], tmp_path / "killed", resume=True, **arguments)
    for mine, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert RunFolder(tmp_path / "killed").read_record().embeddings == whole.record.embeddings


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("negative=3,bad=1", "--class-weights names the label 'bad', which no row has"),
        ("negative=0", "one weight above 0 per label, not 'negative=0'"),
        ("negative=inf", "the weight of the label 'negative' must be a number above 0"),
        ("negative=1,negative=2", "not 'negative=2'"),
        ("most", "class_weights must be one of none, balanced, not 'most'"),
    ],
)
def test_weights_without_a_label_are_rejected(
    tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str, message: str
) -> None:
    command = ["train", str(tweets), "--output", str(tmp_path / "run"), "--class-weights", weights]
    assert main(command) == UsageError.exit_code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run/run.json").exists()
