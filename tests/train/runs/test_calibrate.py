"""Calibration: one temperature, fitted and folded into the network, so that every runtime applies it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from synthetic import write_synthetic

pytest.importorskip("tensorflow")

import keras

from sentstream.bundle import load_bundle
from sentstream.cli import main
from sentstream.errors import (
    BundleNotFoundError,
    CheckpointError,
    ColumnNotFoundError,
    DataError,
    OutputExistsError,
    OutputWriteError,
    UsageError,
)
from sentstream.text import Encoded
from sentstream_train.config import Columns, DataConfig, FitConfig, NetworkConfig
from sentstream_train.data.labeled import sha256_of
from sentstream_train.evaluate.run import evaluate
from sentstream_train.export.run import export
from sentstream_train.measure.metrics import measure
from sentstream_train.measure.temperature import (
    FEWEST,
    FOLDS,
    HIGHEST,
    LOWEST,
    Scaling,
    at_temperature,
    cross_validated,
    fit_offsets,
    fit_scaling,
    fit_temperature,
    is_at_bound,
    left_one_out,
)
from sentstream_train.network.model import build_model
from sentstream_train.network.predict import keras_probabilities
from sentstream_train.report.calibration import calibration_page, calibration_tables
from sentstream_train.runs.calibrate import Calibrated, calibrate, scaled
from sentstream_train.runs.fine_tune import fine_tune
from sentstream_train.runs.train import train
from sentstream_train.store.folder import RunFolder, whole_folder
from sentstream_train.store.trained import open_trained

NETWORK = NetworkConfig(
    words=200, pairs=50, min_count=1, embedding=6, units=(6,), pooling="mean-max", dropout=0.2
)
TEMPERATURES = st.floats(LOWEST, HIGHEST)


@pytest.fixture(scope="module", name="rows")
def _rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labeled rows that no model has seen. Every eighth label is wrong, so high confidence is never right."""
    file = write_synthetic(tmp_path_factory.mktemp("rows") / "heldout.parquet", 400, seed=7)
    table = pq.read_table(file)
    labels = table["label"].to_pylist()
    labels[::8] = ["positive" if label == "negative" else "negative" for label in labels[::8]]
    pq.write_table(table.set_column(1, "label", pa.array(labels)), file)
    return file


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    data = write_synthetic(folder / "tweets.parquet", 400)
    fitting = FitConfig(epochs=3, batch_size=32, learning_rate=1e-2)
    train([data], folder / "run", network=NETWORK, fitting=fitting, data=DataConfig(validation=0.2))
    return folder / "run"


@pytest.fixture(scope="module", name="calibrated")
def _calibrated(run: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    return calibrate(run, [rows], tmp_path_factory.mktemp("calibrated") / "run")


@pytest.fixture(scope="module", name="kinds")
def _kinds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files of different sizes; the model's accuracy falls from the first to the last."""
    folder = tmp_path_factory.mktemp("kinds")
    files = []
    for number, (size, every) in enumerate(((900, 20), (300, 6), (150, 3))):
        file = write_synthetic(folder / f"kind_{number}.parquet", size, seed=20 + number)
        table = pq.read_table(file)
        labels = table["label"].to_pylist()
        labels[::every] = ["positive" if label == "negative" else "negative" for label in labels[::every]]
        pq.write_table(table.set_column(1, "label", pa.array(labels)), file)
        files.append(file)
    return files


@pytest.fixture(scope="module", name="mixture")
def _mixture(run: Path, kinds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    return calibrate(run, kinds, tmp_path_factory.mktemp("mixture") / "run")


def drawn(rows: int, classes: int, temperature: float, seed: int) -> tuple[Any, Any]:
    """Logits, and labels drawn with the probabilities of these logits at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (rows, classes))
    sums = at_temperature(logits, temperature).cumsum(axis=1)
    truth = (random.random((rows, 1)) > sums).sum(axis=1).clip(0, classes - 1).astype(np.int32)
    return logits, truth


def loss(logits: Any, truth: Any, temperature: float) -> float:
    return float(-np.log(at_temperature(logits, temperature)[np.arange(len(truth)), truth]).mean())


def ids(words: int, pairs: int, lengths: list[int], seed: int) -> Encoded:
    random = np.random.default_rng(seed)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    found = random.integers(1, words, offsets[-1]).astype(np.int32)
    return Encoded(
        offsets, found, random.integers(0, pairs + 1, offsets[-1]).astype(np.int32) if pairs else None
    )


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


class TestTemperature:
    @pytest.mark.parametrize("true", [0.2, 0.7, 1.0, 2.5, 8.0])
    @pytest.mark.parametrize("classes", [2, 3])
    def test_temperature_is_recovered(self, true: float, classes: int) -> None:
        logits, truth = drawn(40_000, classes, true, 3)
        assert fit_temperature(logits, truth) == pytest.approx(true, rel=0.05)

    @given(st.integers(0, 10**6), st.integers(2, 4), st.floats(0.3, 3.0), TEMPERATURES)
    @settings(max_examples=40, deadline=None)
    def test_temperature_minimizes_the_loss(self, seed: int, classes: int, true: float, other: float) -> None:
        logits, truth = drawn(200, classes, true, seed)
        assert loss(logits, truth, fit_temperature(logits, truth)) <= loss(logits, truth, other) + 1e-9

    @given(st.integers(0, 10**6), st.floats(0.5, 2.0), st.floats(-50, 50))
    @settings(max_examples=40, deadline=None)
    def test_temperature_depends_on_scale_not_offset(self, seed: int, scale: float, shift: float) -> None:
        logits, truth = drawn(300, 3, 1.0, seed)
        plain = fit_temperature(logits, truth)
        assert fit_temperature(logits * scale + shift, truth) == pytest.approx(plain * scale, rel=1e-4)
        order = np.random.default_rng(seed).permutation(len(truth))
        assert fit_temperature(logits[order], truth[order]) == pytest.approx(plain, rel=1e-4)
        assert fit_temperature(logits, truth) == plain

    @given(
        st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=1, max_size=30),
        TEMPERATURES,
    )
    def test_labels_never_change(self, table: list[list[float]], temperature: float) -> None:
        logits = np.array(table)
        found = at_temperature(logits, temperature)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        # What had the highest logit has the highest probability; where both round alike, another shares it.
        rows = np.arange(len(logits))
        np.testing.assert_array_equal(found[rows, logits.argmax(axis=1)], found.max(axis=1))

    def test_bounds(self) -> None:
        logits, truth = drawn(500, 2, 1.0, 1)
        never_wrong, at_random = logits.argmax(axis=1), np.arange(500) % 2
        low, high = fit_temperature(logits, never_wrong), fit_temperature(logits, 1 - never_wrong)
        assert low == pytest.approx(LOWEST, rel=1e-3)
        assert high == pytest.approx(HIGHEST, rel=1e-3)
        assert [is_at_bound(one) for one in (low, high, 1.0, 0.06, 18.0)] == [True, True, False, False, False]
        assert fit_temperature(logits, at_random) > 5  # its scores say nothing
        assert not is_at_bound(fit_temperature(logits, truth))

    def test_rows_do_not_affect_their_own_temperature(self) -> None:
        logits, truth = drawn(400, 2, 2.0, 5)
        before = cross_validated(logits, truth)
        row = 17
        turned = truth.copy()
        turned[row] = 1 - truth[row]
        after = cross_validated(logits, turned)
        np.testing.assert_array_equal(after[row], before[row])
        assert 0 < (after != before).any(axis=1).sum() < len(truth)
        at_all = at_temperature(logits, fit_temperature(logits, truth))
        np.testing.assert_allclose(before, at_all, atol=0.05)
        assert len(np.unique(np.round(np.log(before[:, 0] / before[:, 1]) / logits[:, 0], 9))) > FOLDS


class TestSets:
    def test_sets_are_weighted_equally(self) -> None:
        (sure, of_sure), (unsure, of_unsure) = drawn(4000, 3, 2.5, 1), drawn(400, 3, 0.8, 2)
        logits, truth = np.concatenate((sure, unsure)), np.concatenate((of_sure, of_unsure))
        sets = np.repeat([0, 1], [4000, 400])
        found = fit_temperature(logits, truth, sets)
        assert found == pytest.approx(
            fit_temperature(
                np.concatenate((sure, *[unsure] * 10)), np.concatenate((of_sure, *[of_unsure] * 10))
            ),
            rel=1e-4,
        )
        assert fit_temperature(unsure, of_unsure) < found < 0.9 * fit_temperature(logits, truth)
        # Numbers are names: others, in another order, give the same.
        order = np.random.default_rng(3).permutation(len(truth))
        other = fit_temperature(logits[order], truth[order], 7 - sets[order])
        assert other == pytest.approx(found, rel=1e-4)
        assert fit_temperature(logits, truth, 0 * sets) == pytest.approx(
            fit_temperature(logits, truth), rel=1e-4
        )

    def test_sets_do_not_affect_their_own_temperature(self) -> None:
        parts = [drawn(200 + 100 * index, 2, true, index) for index, true in enumerate((0.7, 1.5, 3.0))]
        logits, truth = (np.concatenate(side) for side in zip(*parts, strict=True))
        sets = np.repeat([0, 1, 2], [200, 300, 400])
        table, scalings = left_one_out(logits, truth, sets)
        temperatures = [one.temperature for one in scalings]
        turned = np.where(sets == 1, 1 - truth, truth)
        after, changed = left_one_out(logits, turned, sets)
        others = [one.temperature for one in changed]
        np.testing.assert_array_equal(after[sets == 1], table[sets == 1])
        assert others[1] == temperatures[1]
        assert others[0] != temperatures[0]
        assert temperatures[1] == fit_temperature(logits[sets != 1], truth[sets != 1], sets[sets != 1])
        np.testing.assert_array_equal(table[sets == 2], at_temperature(logits[sets == 2], temperatures[2]))
        assert temperatures[0] > temperatures[1] > temperatures[2]


class TestBalance:
    @given(st.integers(0, 10**6), st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
    @settings(max_examples=cases(5, 50), deadline=None)
    def test_offsets_that_were_taken_away_are_found(self, seed: int, taken: list[float]) -> None:
        """Labels are equally frequent; the model believes that they are not."""
        logits, truth = drawn(6000, 3, 0.8, seed)
        found = fit_offsets(logits - taken, truth)
        assert found.mean() == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(found, taken - np.mean(taken), atol=0.15)
        np.testing.assert_allclose(fit_offsets(logits - taken + 3, truth), found, atol=1e-3)
        order = np.random.default_rng(seed).permutation(len(truth))
        np.testing.assert_allclose(fit_offsets((logits - taken)[order], truth[order]), found, atol=1e-3)

    def test_frequent_labels_and_large_sets_count_no_more(self) -> None:
        (logits, truth), (others, of_others) = drawn(3000, 3, 1.0, 1), drawn(600, 3, 1.0, 2)
        found = fit_offsets(logits, truth)
        rare = truth == 2
        more = np.concatenate((logits, *[logits[rare]] * 4)), np.concatenate((truth, *[truth[rare]] * 4))
        np.testing.assert_allclose(fit_offsets(*more), found, atol=1e-3)
        sets = np.repeat([5, 3], [3000, 600])
        both = fit_offsets(np.concatenate((logits, others - [1, 0, 0])), np.append(truth, of_others), sets)
        twice = np.concatenate((logits, *[others - [1, 0, 0]] * 5))
        equal = fit_offsets(twice, np.append(truth, [of_others] * 5), np.repeat([0, 1], 3000))
        np.testing.assert_allclose(both, equal, atol=1e-3)
        assert 0.2 < both[0] - found[0] < 0.5

    def test_a_label_that_a_set_lacks_does_not_count_there(self) -> None:
        logits, truth = drawn(3000, 3, 1.0, 1)
        two = truth < 2
        sets = np.repeat([0, 1], [3000, int(two.sum())])
        found = fit_offsets(np.concatenate((logits, logits[two])), np.append(truth, truth[two]), sets)
        assert np.abs(found).max() < 1

    def test_temperature_is_fitted_to_the_shifted_logits(self) -> None:
        logits, truth = drawn(3000, 3, 1.7, 1)
        found = fit_scaling(logits - [0.5, 0, 0], truth, balance=True)
        assert found.temperature == fit_temperature(logits - [0.5, 0, 0] + found.offsets, truth)
        np.testing.assert_array_equal(
            found.probabilities(logits), at_temperature(logits + found.offsets, found.temperature)
        )

    @pytest.mark.parametrize("kind", ["SOFTMAX", "SIGMOID"])
    def test_network_has_the_offsets(self, kind: str) -> None:
        model: keras.Sequential = getattr(TestNetwork, kind)
        rows = ids(30, 9 if kind == "SOFTMAX" else 0, [1, 4, 9], 3)
        before = keras_probabilities(model, rows).astype(np.float64)
        scaling = Scaling(0.5, (0.7, -0.3, -0.4)[: before.shape[1]])
        after = keras_probabilities(scaled(model, scaling), rows)
        np.testing.assert_allclose(after, scaling.probabilities(np.log(before)), atol=1e-5)

    def test_run(self, run: Path, tmp_path: Path) -> None:
        """One label in ten of the rows is positive; the model was trained on as many of both."""
        table = pq.read_table(write_synthetic(tmp_path / "all.parquet", 900, seed=9))
        positive = pc.equal(table["label"], "positive")
        positives, negatives = table.filter(positive), table.filter(pc.invert(positive))
        files = []
        for name, count in (("few.parquet", 40), ("some.parquet", 90)):
            part = pa.concat_tables([positives.slice(0, count), negatives])
            labels = part["label"].to_pylist()
            labels[::7] = ["negative"] * len(labels[::7])
            files.append(tmp_path / name)
            pq.write_table(part.set_column(1, "label", pa.array(labels)), files[-1])
        found = calibrate(run, files, tmp_path / "balanced", balance=True)
        entry = found.calibration
        assert entry["method"] == "temperature scaling after an offset per label"
        assert list(entry["offsets"]) == list(found.record.labels)
        assert sum(entry["offsets"].values()) == pytest.approx(0, abs=1e-6)
        assert found.record.metrics == {}  # of the labels as they were
        for one in entry["files"]:
            assert {"macro_recall", "ece"} <= set(one["before"]) & set(one["after"])
        mean = np.mean([one["after"]["macro_recall"] for one in entry["files"]])
        assert entry["after"]["macro_recall"] == pytest.approx(mean, abs=1e-5)
        console = Console(file=io.StringIO(), width=200)
        for part in calibration_tables(found.to_dict()):
            console.print(part)
        shown = console.file.getvalue()
        assert "macro-recall" in shown
        assert "(positive)" in shown
        assert "labels do not change" not in calibration_page(found.to_dict())
        card = export(found.folder.path, tmp_path / "bundle").bundle.card
        assert "predicted as readily as others" in card
        assert "macro-recall, before" in card

    def test_too_few_rows_of_a_label(self, run: Path, tmp_path: Path) -> None:
        table = pq.read_table(write_synthetic(tmp_path / "all.parquet", 600, seed=9))
        positive = pc.equal(table["label"], "positive")
        few = pa.concat_tables([table.filter(positive).slice(0, 19), table.filter(pc.invert(positive))])
        pq.write_table(few, tmp_path / "few.parquet")
        with pytest.raises(DataError, match=r"few.parquet: the label 'positive' has only 19 rows, too few"):
            calibrate(run, [tmp_path / "few.parquet"], tmp_path / "out", balance=True)
        assert not (tmp_path / "out").exists()
        calibrate(run, [tmp_path / "few.parquet"], tmp_path / "out")


class TestNetwork:
    SOFTMAX = build_model(NETWORK, words=30, pairs=9, classes=3, seed=2)
    SIGMOID = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(30, 6, mask_zero=True),
            keras.layers.GRU(5),
            keras.layers.Dense(1, activation="sigmoid", use_bias=False),
        ]
    )

    @given(
        st.sampled_from(["SOFTMAX", "SIGMOID"]),
        TEMPERATURES,
        st.lists(st.integers(1, 12), min_size=1, max_size=20),
        st.integers(0, 10**6),
    )
    @settings(max_examples=cases(5, 100), deadline=None)
    def test_last_layer_is_scaled_and_labels_do_not_change(
        self, kind: str, temperature: float, lengths: list[int], seed: int
    ) -> None:
        model: keras.Sequential = getattr(self, kind)
        random = np.random.default_rng(seed)
        model.set_weights([random.normal(0, 0.7, w.shape).astype(np.float32) for w in model.get_weights()])
        weights = [weight.copy() for weight in model.get_weights()]
        rows = ids(30, 9 if kind == "SOFTMAX" else 0, lengths, seed)
        before = keras_probabilities(model, rows).astype(np.float64)
        after = keras_probabilities(scaled(model, Scaling(temperature)), rows)
        # Of probabilities, logarithms are logits: they differ by a number that all labels share.
        expected = at_temperature(np.log(np.maximum(before, 1e-30)), temperature)
        np.testing.assert_allclose(after, expected, atol=2e-5)
        clear = np.abs(np.diff(np.sort(before, axis=1)[:, -2:], axis=1))[:, 0] > 1e-5
        np.testing.assert_array_equal(after.argmax(axis=1)[clear], before.argmax(axis=1)[clear])
        for mine, theirs in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)

    def test_separate_activation_layer(self) -> None:
        model = keras.Sequential(
            [
                keras.Input((None,), dtype="int32"),
                keras.layers.Embedding(30, 6, mask_zero=True),
                keras.layers.SimpleRNN(4),
                keras.layers.Dense(2),
                keras.layers.Softmax(),
            ]
        )
        rows = ids(30, 0, [1, 4, 9], 3)
        before = keras_probabilities(model, rows).astype(np.float64)
        after = keras_probabilities(scaled(model, Scaling(0.1)), rows)
        np.testing.assert_allclose(after, at_temperature(np.log(before), 0.1), atol=1e-5)


class TestRun:
    def test_result_describes_the_calibration(self, calibrated: Calibrated, run: Path, rows: Path) -> None:
        record = json.loads(calibrated.folder.run.read_text())
        assert record == calibrated.record.to_dict()
        assert {path.name for path in calibrated.folder.path.iterdir()} == {
            *("run.json", "model.keras", "vocabulary.txt", "pairs.parquet", "parity.npz", "held_out.npz")
        }
        entry = record["calibration"]
        assert entry["n"] == entry["rows"]["judged"] == 400
        assert entry["data"][0]["sha256"] == sha256_of(rows)
        assert entry["data"][0]["name"] == "heldout.parquet"
        assert entry["model"] == {"name": "run", "fingerprint": f"sha256:{sha256_of(run / 'model.keras')}"}
        assert "earlier" not in entry
        assert str(rows.parent) not in calibrated.folder.run.read_text()
        for side in ("before", "after"):
            assert len(entry[side]["bins"]) == 15
            assert sum(one["rows"] for one in entry[side]["bins"]) == 400
        before = json.loads((run / "run.json").read_text())
        for key in ("labels", "text", "max_chars", "data", "training", "architecture", "finished", "started"):
            assert record[key] == before[key]
        assert record["metrics"]["validation"]["accuracy"] == before["metrics"]["validation"]["accuracy"]
        assert "loss" not in record["metrics"]["validation"]  # it is that of other probabilities

    def test_saved_model_is_calibrated(self, calibrated: Calibrated, run: Path, rows: Path) -> None:
        entry = calibrated.calibration
        before, after = evaluate(run, [rows]), evaluate(calibrated.folder.path, [rows])
        assert before.metrics.calibration is not None
        assert after.metrics.calibration is not None
        # The figures before are those that an evaluation gives.
        assert entry["before"]["log_loss"] == pytest.approx(before.metrics.calibration.log_loss, abs=1e-5)
        assert entry["before"]["ece"] == pytest.approx(before.metrics.calibration.ece, abs=1e-4)
        assert entry["temperature"] == pytest.approx(before.recalibration.temperature, rel=1e-3)
        # Those after are honest, so not below the figure on the rows that the temperature was fitted to.
        assert after.metrics.calibration.log_loss < before.metrics.calibration.log_loss
        assert after.metrics.calibration.log_loss <= entry["after"]["log_loss"] + 1e-6
        assert entry["after"]["log_loss"] < entry["before"]["log_loss"]
        assert after.recalibration.temperature == pytest.approx(1.0, rel=1e-3)
        assert after.metrics.confusion == before.metrics.confusion  # no label has changed

    def test_same_rows_give_same_network(
        self, calibrated: Calibrated, run: Path, rows: Path, tmp_path: Path
    ) -> None:
        again = calibrate(run / "model.keras", [rows], tmp_path / "a" / "b")
        assert again.calibration["temperature"] == calibrated.calibration["temperature"]
        for mine, theirs in zip(again.model.get_weights(), calibrated.model.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)

    def test_original_run_is_unchanged(self, run: Path, rows: Path, tmp_path: Path) -> None:
        before = contents(run)
        calibrate(run, [rows], tmp_path / "new")
        with pytest.raises(OutputExistsError):
            calibrate(run, [rows], run)
        assert contents(run) == before

    def test_overconfident_model(self, calibrated: Calibrated, run: Path, rows: Path, tmp_path: Path) -> None:
        shutil.copytree(run, tmp_path / "sure")
        trained = open_trained(run)
        scaled(trained.model, Scaling(0.25)).save(tmp_path / "sure" / "model.keras")
        found = calibrate(tmp_path / "sure", [rows], tmp_path / "new")
        expected = 4 * calibrated.calibration["temperature"]
        assert found.calibration["temperature"] == pytest.approx(expected, rel=1e-3)
        assert found.calibration["before"]["ece"] > calibrated.calibration["before"]["ece"]
        encoded = trained.text.encode(pq.read_table(rows)["text"].combine_chunks())
        np.testing.assert_allclose(
            keras_probabilities(found.model, encoded),
            keras_probabilities(calibrated.model, encoded),
            atol=1e-4,
        )

    def test_calibration_is_in_the_bundle_and_card(self, calibrated: Calibrated, tmp_path: Path) -> None:
        result = export(calibrated.folder.path, tmp_path / "bundle")
        config = result.bundle.config
        assert config["provenance"]["calibration"] == calibrated.calibration
        assert config["parity"]["of"] == "held-out rows"
        card = result.bundle.card
        assert f"a temperature of {calibrated.calibration['temperature']:.4f}" in card
        assert f"| log loss | {calibrated.calibration['before']['log_loss']:.4f} |" in card
        assert "cross-validated in 5 folds" in card
        assert "heldout.parquet" in card
        assert "calibrated before" not in card

    def test_calibrating_again(self, calibrated: Calibrated, rows: Path, tmp_path: Path) -> None:
        again = calibrate(calibrated.folder.path, [rows], tmp_path / "again")
        entry = again.calibration
        assert entry["temperature"] == pytest.approx(1.0, rel=1e-3)
        assert entry["earlier"] == [calibrated.calibration]
        third = calibrate(tmp_path / "again", [rows], tmp_path / "third").calibration
        first, second = third["earlier"]
        assert first == calibrated.calibration
        assert second == {key: value for key, value in entry.items() if key != "earlier"}
        card = export(again.folder.path, tmp_path / "bundle").bundle.card
        assert f"calibrated before: temperature {first['temperature']:.4f}, 400 rows" in card

    def test_fine_tuning_resets_and_records_the_calibration(
        self, calibrated: Calibrated, tmp_path: Path
    ) -> None:
        data = write_synthetic(tmp_path / "more.parquet", 120, seed=9)
        tuned = fine_tune(
            calibrated.folder.path,
            [data],
            tmp_path / "tuned",
            fitting=FitConfig(epochs=1, batch_size=32),
            data=DataConfig(validation=0.2),
            thaw="head",
        )
        assert tuned.record.to_dict()["from"]["calibration"] == calibrated.calibration
        assert "calibration" not in tuned.record.to_dict()
        bundle = export(tuned.folder.path, tmp_path / "bundle").bundle
        assert "calibration" not in bundle.config["provenance"]
        assert "## Calibration" not in bundle.card

    def test_calibrated_run_cannot_be_resumed(self, calibrated: Calibrated, rows: Path) -> None:
        with pytest.raises(CheckpointError, match="was not made by train"):
            train(
                [rows],
                calibrated.folder.path,
                network=NETWORK,
                fitting=FitConfig(),
                data=DataConfig(),
                resume=True,
            )


class TestBundles:
    def test_three_labels(self, tmp_path: Path) -> None:
        labels = ("negative", "neutral", "positive")
        bundle = make_bundle(tmp_path / "three", labels=labels, pairs=False, seed=5)
        data = write_synthetic(tmp_path / "rows.parquet", 300, neutral=True, seed=4)
        result = calibrate(bundle, [data], tmp_path / "run")
        assert result.calibration["model"] == {
            "name": "tiny",
            "fingerprint": load_bundle(bundle).digest,
        }
        assert not (tmp_path / "run" / "pairs.parquet").exists()
        assert open_trained(tmp_path / "run").rows is not None  # so that an export has rows to compare on
        made = export(tmp_path / "run", tmp_path / "bundle").bundle
        before, after = evaluate(bundle, [data]).metrics, evaluate(tmp_path / "bundle", [data]).metrics
        assert before.calibration is not None
        assert after.calibration is not None
        assert after.confusion == before.confusion
        assert after.calibration.log_loss < before.calibration.log_loss
        assert "Trained:" not in made.card  # nobody says when
        assert str(tmp_path) not in made.card + json.dumps(made.config)

    def test_single_sigmoid(self, rows: Path, tmp_path: Path) -> None:
        words = ["<pad>", "<unk>", "love", "great", "happy", "win", "hate", "awful", "sad", "lost", "the"]
        model = keras.Sequential(
            [
                keras.Input((None,)),
                keras.layers.Embedding(len(words), 4, mask_zero=True),
                keras.layers.SimpleRNN(4),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        # Good words and bad ones pull the state apart, and the scores are far too sure.
        sides = np.array([0, 0, 1, 1, 1, 1, -1, -1, -1, -1, 0], np.float32)
        weights = [np.outer(sides, np.ones(4)), np.eye(4), np.eye(4) / 2, np.zeros(4), np.full((4, 1), 3)]
        model.set_weights([*weights, np.zeros(1)])
        model.save(tmp_path / "model.keras")
        (tmp_path / "words.txt").write_text("\n".join(words) + "\n")
        bundle = export(
            tmp_path / "model.keras",
            tmp_path / "bundle",
            vocabulary=tmp_path / "words.txt",
            labels=["negative", "positive"],
        ).bundle
        result = calibrate(tmp_path / "bundle", [rows], tmp_path / "run")
        assert result.record.to_dict()["file"] == {
            "name": "model.keras",
            "sha256": sha256_of(tmp_path / "model.keras"),
            "preprocessing": "the rules tweets",
        }
        before, after = evaluate(bundle.path, [rows]), evaluate(tmp_path / "run", [rows])
        assert before.recalibration.temperature == pytest.approx(result.calibration["temperature"], rel=1e-3)
        assert after.metrics.confusion == before.metrics.confusion
        assert after.recalibration.temperature == pytest.approx(1.0, rel=1e-3)


class TestSeveralFiles:
    def test_files_are_evaluated_at_the_temperature_of_the_others(
        self, mixture: Calibrated, run: Path, kinds: list[Path], tmp_path: Path
    ) -> None:
        entry = mixture.calibration
        assert [one["name"] for one in entry["files"]] == [file.name for file in kinds]
        assert [one["n"] for one in entry["files"]] == [900, 300, 150]
        assert entry["n"] == entry["rows"]["judged"] == 1350
        for file, one in zip(kinds, entry["files"], strict=True):
            others = [other for other in kinds if other != file]
            without = calibrate(run, others, tmp_path / file.stem)
            # Keras rounds differently in other batches, on some CPUs.
            assert without.calibration["temperature"] == pytest.approx(one["temperature"], rel=1e-6)
        # What evaluations of the last file come to, of the model before and of one in which it had no say.
        for side, model in (("before", run), ("after", without.folder.path)):
            found = evaluate(model, [file]).metrics.calibration
            assert found is not None
            assert one[side]["log_loss"] == pytest.approx(found.log_loss, abs=1e-5)
            assert one[side]["brier"] == pytest.approx(found.brier, abs=1e-5)
            assert one[side]["ece"] == pytest.approx(found.ece, abs=1e-3)
        for side in ("before", "after"):
            for key in ("ece", "log_loss", "brier"):
                mean = np.mean([one[side][key] for one in entry["files"]])
                assert entry[side][key] == pytest.approx(mean, abs=1e-6)
            assert sum(one["rows"] for one in entry[side]["bins"]) == 1350
        assert "mean of 3 files" in entry["after_is"]

    def test_large_file_does_not_outweigh_others(
        self, mixture: Calibrated, run: Path, kinds: list[Path], tmp_path: Path
    ) -> None:
        folder = tmp_path / "larger"
        folder.mkdir()
        table = pq.read_table(kinds[0])
        pq.write_table(pa.concat_tables([table] * 3), folder / kinds[0].name)
        found = calibrate(run, [folder / kinds[0].name, *kinds[1:]], tmp_path / "a").calibration
        assert found["n"] == 3150
        assert found["temperature"] == pytest.approx(mixture.calibration["temperature"], rel=1e-4)
        pq.write_table(pa.concat_tables([pq.read_table(file) for file in kinds]), folder / "all.parquet")
        pooled = calibrate(run, [folder / "all.parquet"], tmp_path / "b").calibration
        assert pooled["temperature"] < 0.95 * mixture.calibration["temperature"]
        assert "files" not in pooled
        assert pooled["after_is"] == "cross-validated in 5 folds"

    def test_every_report_of_several_files(
        self,
        mixture: Calibrated,
        run: Path,
        kinds: list[Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        entry = mixture.calibration
        assert json.loads(mixture.folder.run.read_text())["calibration"] == entry
        bundle = export(mixture.folder.path, tmp_path / "bundle").bundle
        assert bundle.config["provenance"]["calibration"] == entry
        assert "1,350 labeled rows of 3 files, each of which counts the same" in bundle.card
        for one in entry["files"]:
            figures = [one[side][key] for key in ("ece", "log_loss") for side in ("before", "after")]
            cells = " | ".join(f"{figure:.4f}" for figure in (one["temperature"], *figures))
            assert f"| `{one['name']}` | {one['n']:,} | {cells} |" in bundle.card
        page = tmp_path / "page.html"
        arguments = ["calibrate", str(run), *map(str, kinds), "-o", str(tmp_path / "new")]
        assert main([*arguments, "--html", str(page)]) == 0
        out = capsys.readouterr().out
        written = page.read_text()
        for one in entry["files"]:
            for text in (out, written):
                assert one["name"] in text
                assert f"{one['temperature']:.4f}" in text
                assert f"{100 * one['before']['ece']:.2f} → {100 * one['after']['ece']:.2f} %" in text
                assert f"{one['before']['log_loss']:.4f} → {one['after']['log_loss']:.4f}" in text
        judged = evaluate(tmp_path / "new", [kinds[2]]).to_dict()
        assert judged["model"]["calibration"]["after_is"] == entry["after_is"]

    def test_unusable_file_is_named(self, run: Path, rows: Path, tmp_path: Path) -> None:
        two = ["positive", "negative"]
        for labels, message in (
            (two * 49, r"some\.parquet: 98 rows .* too few"),
            (["neutral"] * 200, r"some\.parquet: 0 rows .* too few"),
            (["positive"] * 150, r"some\.parquet: all 150 rows have the label 'positive'"),
        ):
            with pytest.raises(DataError, match=message):
                calibrate(run, [rows, few(tmp_path / "some.parquet", labels)], tmp_path / "new")
        (tmp_path / "other").mkdir()
        same = few(tmp_path / "other" / rows.name, two * 60)
        with pytest.raises(DataError, match=f"{rows} and {same} have the same name"):
            calibrate("no model", [rows, same], tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_duplicate_file_counts_once(
        self, calibrated: Calibrated, run: Path, rows: Path, tmp_path: Path
    ) -> None:
        found = calibrate(run, [rows, rows], tmp_path / "new").calibration
        assert found["temperature"] == calibrated.calibration["temperature"]
        assert found["after"] == calibrated.calibration["after"]
        assert "files" not in found


class TestRows:
    def test_rows_are_chosen_as_in_evaluation(self, run: Path, tmp_path: Path) -> None:
        table = pq.read_table(write_synthetic(tmp_path / "rows.parquet", 300, neutral=True, seed=2))
        texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
        texts[:3], labels[5:7] = [None, " ", ""], [None, ""]
        pq.write_table(pa.table({"tweet": texts, "mood": labels}), tmp_path / "rows.parquet")
        names = {"text_column": "tweet", "label_column": "mood"}
        counts = evaluate(run, [tmp_path / "rows.parquet"], **names).rows.to_dict()
        columns = Columns("tweet", "mood")
        result = calibrate(run, [tmp_path / "rows.parquet"], tmp_path / "new", columns=columns)
        assert result.calibration["rows"] == counts
        assert counts["unknown_labels"].keys() == {"neutral"}
        chosen = calibrate(
            run,
            [tmp_path / "rows.parquet"],
            tmp_path / "two",
            columns=columns,
            labels=["negative", "positive"],
        ).calibration
        assert chosen["rows"]["other_labels"].keys() == {"neutral"}
        assert chosen["temperature"] == result.calibration["temperature"]

    def test_training_rows_give_a_warning(self, run: Path, rows: Path, tmp_path: Path) -> None:
        learned = run.parent / "tweets.parquet"
        result = calibrate(run, [learned, rows], tmp_path / "new")
        (warning,) = result.warnings
        assert "trained on tweets.parquet" in warning

    def test_temperature_at_the_bound_gives_a_warning(self, run: Path, tmp_path: Path) -> None:
        table = pq.read_table(write_synthetic(tmp_path / "rows.parquet", 200, seed=3))
        model = open_trained(run)
        encoded = model.text.encode(table["text"].combine_chunks())
        indices = keras_probabilities(model.model, encoded).argmax(axis=1)
        for which, words in ((0, "makes no errors"), (1, "tell nothing")):
            labels = pa.array([model.labels[(index + which) % 2] for index in indices])
            pq.write_table(table.set_column(1, "label", labels), tmp_path / "rows.parquet")
            result = calibrate(run, [tmp_path / "rows.parquet"], tmp_path / f"new{which}")
            (warning,) = result.warnings
            assert "at the limit" in warning
            assert words in warning


def few(path: Path, labels: list[str]) -> Path:
    texts = [f"love it {row}" for row in range(len(labels))]
    pq.write_table(pa.table({"text": texts, "label": labels}), path)
    return path


class TestErrors:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (["positive", "negative"] * (FEWEST // 2 - 1), r"98 rows .* too few .* at least 100"),
            (["positive"] * 150, "all 150 rows have the label 'positive'"),
            (["neutral"] * 150, "no row has a label of the model"),
            (["neutral"] * 150 + ["positive"], "1 rows .* too few"),
        ],
    )
    def test_unusable_rows(self, run: Path, tmp_path: Path, labels: list[str], message: str) -> None:
        data = few(tmp_path / "rows.parquet", labels)
        with pytest.raises(DataError, match=message):
            calibrate(run, [data], tmp_path / "runs" / "new")
        assert not (tmp_path / "runs").exists()

    def test_too_few_rows_without_blanks(self, run: Path, tmp_path: Path) -> None:
        labels = ["positive", "negative"] * 60
        texts = [" " if row < 40 else f"love it {row}" for row in range(120)]
        pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "rows.parquet")
        with pytest.raises(DataError, match="80 rows"):
            calibrate(run, [tmp_path / "rows.parquet"], tmp_path / "new")

    def test_missing_labels_and_columns(self, run: Path, rows: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="has no label 'neutral'"):
            calibrate(run, [rows], tmp_path / "new", labels=["neutral", "positive"])
        with pytest.raises(ColumnNotFoundError):
            calibrate(run, [rows], tmp_path / "new", columns=Columns("nope"))

    def test_missing_models(self, run: Path, rows: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleNotFoundError):
            calibrate(tmp_path / "nothing", [rows], tmp_path / "new")
        shutil.copytree(run, tmp_path / "unfinished", ignore=shutil.ignore_patterns("model.keras"))
        with pytest.raises(CheckpointError, match="is the run finished"):
            calibrate(tmp_path / "unfinished", [rows], tmp_path / "new")
        assert [path.name for path in tmp_path.iterdir()] == ["unfinished"]

    def test_existing_output_is_rejected_before_reading(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("dear diary")
        (tmp_path / "link").symlink_to("nowhere")
        for name in ("empty", "file", "link"):
            with pytest.raises(OutputExistsError, match=f"{name} already exists"):
                calibrate(tmp_path / "no model", [tmp_path / "no rows"], tmp_path / name)

    def test_unwritable_output(self, run: Path, rows: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputWriteError, match="not a directory"):
            calibrate(tmp_path / "no model", [rows], tmp_path / "file" / "run")
        with pytest.raises(OutputWriteError, match="cannot be written"):
            calibrate(run, [rows], tmp_path / "parent" / ("x" * 250))
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


class TestWholeFolder:
    def test_unfinished_folder_is_removed(self, tmp_path: Path) -> None:
        def write(target: Path) -> None:
            with whole_folder(target) as folder:
                folder.write("run.json", b"{}")
                assert not target.exists()
                raise KeyboardInterrupt

        (tmp_path / "runs").mkdir()
        for target in (tmp_path / "runs" / "new", tmp_path / "a" / "b" / "c"):
            with pytest.raises(KeyboardInterrupt):
                write(target)
        assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("runs")]

    def test_folder_appearing_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        def write(target: Path) -> None:
            with whole_folder(target) as folder:
                folder.write("run.json", b"{}")
                target.mkdir()
                (target / "run.json").write_bytes(b"theirs")

        with pytest.raises(OutputExistsError):
            write(tmp_path / "new")
        assert (tmp_path / "new" / "run.json").read_bytes() == b"theirs"
        assert os.listdir(tmp_path) == ["new"]

    def test_finished_folder(self, tmp_path: Path) -> None:
        with whole_folder(tmp_path / "a" / "new") as folder:
            folder.write_json(folder.run, {"labels": []})
        made = RunFolder(tmp_path / "a" / "new")
        assert made.read_json(made.run) == {"labels": []}
        assert os.listdir(tmp_path / "a") == ["new"]


class TestCommand:
    def test_json_and_page(
        self, run: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page = tmp_path / "page.html"
        arguments = ["calibrate", str(run), str(rows), "--output", str(tmp_path / "new")]
        assert main([*arguments, "--json", "--html", str(page)]) == 0
        printed = json.loads(capsys.readouterr().out)
        entry = json.loads((tmp_path / "new" / "run.json").read_text())["calibration"]
        assert {key: printed[key] for key in entry} == entry
        assert printed["output"] == str(tmp_path / "new")
        written = page.read_text()
        assert written == calibration_page(printed)
        assert f"{entry['temperature']:.4f}" in written
        assert written.count("Reliability diagram") == 2
        assert "<script" not in written
        # A page that is there is refused before any work.
        arguments[-1] = str(tmp_path / "other")
        assert main([*arguments, "--html", str(page)]) == OutputExistsError.exit_code
        assert not (tmp_path / "other").exists()

    def test_table_and_warning(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SENTSTREAM_CALIBRATE_LABEL_COLUMN", "label")
        learned = str(run.parent / "tweets.parquet")
        assert main(["calibrate", str(run), learned, "-o", str(tmp_path / "new")]) == 0
        out, err = capsys.readouterr()
        entry = json.loads((tmp_path / "new" / "run.json").read_text())["calibration"]
        assert f"temperature: {entry['temperature']:.4f}" in out
        assert f"{entry['before']['log_loss']:.4f}" in out
        assert f"{entry['after']['log_loss']:.4f}" in out
        assert f"next:  sentstream export-onnx {tmp_path / 'new'} --output BUNDLE" in out
        assert "trained on tweets.parquet" in err

    def test_errors_take_one_line(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = few(tmp_path / "rows.parquet", ["positive", "negative"] * 10)
        assert main(["calibrate", str(run), str(data), "-o", str(tmp_path / "new")]) == DataError.exit_code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "20 rows" in err


def test_figures_match_the_metrics(calibrated: Calibrated, run: Path, rows: Path) -> None:
    """Recomputes the figures before and after from the probabilities; only the folds come from our code."""
    trained, table = open_trained(run), pq.read_table(rows)
    truth = np.array([trained.labels.index(label) for label in table["label"].to_pylist()], np.int32)
    before = keras_probabilities(trained.model, trained.text.encode(table["text"].combine_chunks()))
    for side, found in (("before", before), ("after", cross_validated(np.log(before.astype(float)), truth))):
        expected = measure(truth, before.argmax(axis=1), trained.labels, found).calibration
        assert expected is not None
        for key, value in (("ece", expected.ece), ("brier", expected.brier), ("log_loss", expected.log_loss)):
            assert calibrated.calibration[side][key] == pytest.approx(value, abs=1e-4)
