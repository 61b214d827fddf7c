"""Evaluation of bundles and Keras runs: which rows count, the figures, the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from synthetic import write_synthetic

import sentstream
from sentstream.cli import main
from sentstream.errors import (
    BundleDigestError,
    BundleNotFoundError,
    CheckpointError,
    ColumnNotFoundError,
    DataError,
    UsageError,
    how_to_install,
)
from sentstream_train.data.labeled import read_labeled, sha256_of
from sentstream_train.evaluate.baselines.run import LINEAR
from sentstream_train.evaluate.narrowed import Narrowed, renormalized
from sentstream_train.evaluate.run import evaluate
from sentstream_train.store.predictor import BundlePredictor, KerasPredictor, calibration_facts, open_model

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/tweets.parquet"
THREE = ("negative", "neutral", "positive")


@pytest.fixture(scope="module", name="two")
def _two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "two")


@pytest.fixture(scope="module", name="three")
def _three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "three", labels=THREE, pairs=False, seed=5)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """Thirteen rows: one without a label, two neutral, one odd, a null and a blank text; seven to judge."""
    texts = [
        "i love it",
        "i hate it",
        "so good !",
        "so bad",
        "a day",
        "the day",
        "great :)",
        "awful :(",
        None,
        " ",
        "x",
        "y",
    ]
    labels = ["positive", "negative"] * 2 + ["neutral"] * 2 + ["positive", "negative"] * 2 + ["odd", None]
    texts.append("not so good")
    labels.append("negative")
    path = tmp_path / "labeled.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()), "label": labels}), path)
    return path


class TestRows:
    def test_unknown_labels_and_blank_texts_are_omitted_and_counted(self, two: Path, file: Path) -> None:
        rows = evaluate(two, [file]).rows
        assert rows.to_dict() == {
            "read": 13,
            "without_label": 1,
            "other_labels": {},
            "unknown_labels": {"neutral": 2, "odd": 1},
            "repeated": 0,
            "blank": 2,
            "judged": 7,
        }

    def test_labels_restrict_the_rows(self, two: Path, file: Path) -> None:
        found = evaluate(two, [file], labels=["positive"])
        assert found.rows.other_labels == {"negative": 5, "neutral": 2, "odd": 1}
        assert found.rows.unknown_labels == {}
        assert found.metrics.rows == found.rows.judged == 3
        assert [one.support for one in found.metrics.classes] == [0, 3]

    def test_training_rows_are_omitted(self, two: Path, file: Path, tmp_path: Path) -> None:
        learned = tmp_path / "learned.csv"
        learned.write_text('text\n"I LOVE it!"\n"@ann so good"\nnever seen\n')
        found = evaluate(two, [file], without=[learned])
        assert (found.rows.repeated, found.rows.judged, found.rows.blank) == (2, 5, 2)
        assert [source.name for source in found.without] == ["learned.csv"]
        assert found.metrics.rows == 5
        assert found.to_dict()["without"][0]["rows"] == 3
        kept = evaluate(two, [file], worst=99).worst
        assert {row.row for row in found.worst} <= {row.row for row in kept}  # rows keep their numbers
        with pytest.raises(DataError, match="all 10 rows with a text repeat one of --without"):
            evaluate(two, [file], without=[file])

    def test_every_row_is_in_one_count(self, two: Path, three: Path) -> None:
        for model, labels in (
            (two, None),
            (three, None),
            (three, ["negative", "positive"]),
            (two, ["negative"]),
        ):
            rows = evaluate(model, [EXAMPLE], label_column="expected", labels=labels).rows
            left_out = (*rows.other_labels.values(), *rows.unknown_labels.values())
            assert rows.read == 305 == rows.without_label + sum(left_out) + rows.blank + rows.judged

    def test_predictions_use_all_labels(self, three: Path) -> None:
        found = evaluate(three, [EXAMPLE], label_column="expected", labels=["positive", "negative"])
        assert [one.label for one in found.metrics.classes] == list(THREE)
        assert found.metrics.classes[1].support == 0
        assert found.metrics.classes[1].predicted > 0

    def test_several_files_are_one_set(self, two: Path, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "more.csv"
        other.write_text("label,text\npositive,what a great day\nodd,hm\nneutral,a day\n")
        found = evaluate(two, [file, other])
        assert [source.name for source in found.sources] == ["labeled.parquet", "more.csv"]
        assert found.rows.read == 16
        assert found.rows.unknown_labels == {"neutral": 3, "odd": 2}
        assert found.metrics.rows == 8

    def test_repeated_rows_are_all_evaluated(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "twice.csv"
        path.write_text("text,label\n" + "love it,positive\n" * 3)
        assert evaluate(two, [path]).metrics.rows == 3


class TestLabels:
    def test_model_label_order_is_kept(self, tmp_path: Path, file: Path) -> None:
        model = make_bundle(tmp_path / "turned", labels=("positive", "negative"))
        found = evaluate(model, [file])
        assert [one.label for one in found.metrics.classes] == ["positive", "negative"]
        assert [one.support for one in found.metrics.classes] == [3, 4]
        # The same network under swapped names is right where the other was wrong.
        other = evaluate(make_bundle(tmp_path / "straight"), [file])
        assert found.metrics.correct == other.metrics.rows - other.metrics.correct

    def test_integer_labels(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.parquet"
        pq.write_table(pa.table({"text": ["i love it", "i hate it", "a day"], "label": [4, 0, 2]}), path)
        found = evaluate(make_bundle(tmp_path / "b", labels=("0", "4")), [path])
        assert found.rows.unknown_labels == {"2": 1}
        assert found.metrics.rows == 2

    def test_official_file_needs_no_options(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "official.csv"
        row = '"{}","{}","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","{}","{}"\n'
        rows = [
            (0, 1, "ann", "i hate it"),
            (4, 2, "bob", "i love it"),
            (2, 3, "eve", "a day"),
            (4, 4, "bob", "great"),
        ]
        path.write_text("".join(row.format(*values) for values in rows))
        found = evaluate(two, [path])
        assert found.rows.unknown_labels == {"neutral": 1}
        assert [one.support for one in found.metrics.classes] == [1, 2]

    def test_other_column_names(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "other.tsv"
        path.write_text("mood\tbody\npositive\tlove it\nnegative\thate it\n")
        assert evaluate(two, [path], text_column="body", label_column="mood").metrics.rows == 2

    def test_label_missing_from_the_data(self, three: Path, tmp_path: Path) -> None:
        path = tmp_path / "one.csv"
        path.write_text("text,label\nlove it,positive\nhate it,positive\n")
        metrics = evaluate(three, [path]).metrics
        assert [one.recall is None for one in metrics.classes] == [True, True, False]
        assert metrics.macro_recall == metrics.classes[2].recall


class TestBundle:
    def test_metrics_match_scoring(self, three: Path) -> None:
        data = read_labeled(EXAMPLE, label_column="expected", labels=list(THREE))
        scored = sentstream.load(three).score(data.text)
        given = [THREE.index(label) if label else -1 for label in scored["sentiment"].to_pylist()]
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (data.label, given), 1)
        found = evaluate(three, [EXAMPLE], label_column="expected").metrics
        assert found.confusion == tuple(map(tuple, confusion.tolist()))
        assert found.correct == np.trace(confusion)
        shares = np.stack([scored[f"sentiment_prob_{label}"].to_numpy() for label in THREE], axis=1)
        assert found.calibration is not None
        true = np.clip(shares[np.arange(len(data)), data.label].astype(np.float64), 1e-7, 1)
        assert found.calibration.log_loss == pytest.approx(-np.log(true).mean())

    def test_model_is_named(self, two: Path, file: Path) -> None:
        bundle = sentstream.load(two)
        assert evaluate(two, [file]).model == {
            "kind": "bundle",
            "name": "tiny",
            "version": "0.0.1",
            "digest": bundle.digest,
            "labels": ["negative", "positive"],
        }

    def test_texts_are_truncated_at_max_chars(self, tmp_path: Path) -> None:
        model = make_bundle(tmp_path / "short", max_chars=10)
        texts = pa.array(["i love it.", "i love it. awful awful awful", "awful awful awful"])
        table = open_model(model).probabilities(texts)
        assert np.array_equal(table[0], table[1])
        assert not np.array_equal(table[0], table[2])

    def test_empty_input(self, two: Path) -> None:
        table = open_model(two).probabilities(pa.array([None, "", " \t"], pa.string()))
        assert table.shape == (3, 2)
        assert np.isnan(table).all()

    def test_wide_strings(self, two: Path) -> None:
        texts = pa.array(["i love it", None, "so bad"])
        predictor = open_model(two)
        wide = predictor.probabilities(texts.cast(pa.large_string()))
        assert np.array_equal(wide, predictor.probabilities(texts), equal_nan=True)

    def test_portions_change_nothing(self, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = read_labeled(EXAMPLE, label_column="expected").text
        predictor = open_model(two)
        assert isinstance(predictor, BundlePredictor)
        whole = predictor.probabilities(text)
        assert whole.dtype == np.float32
        monkeypatch.setattr("sentstream_train.store.predictor._ROWS_AT_ONCE", 50)
        done: list[tuple[int, int]] = []
        assert np.array_equal(
            predictor.probabilities(text, lambda *rows: done.append(rows)), whole, equal_nan=True
        )
        assert done[-1] == (len(text), len(text))
        assert len(done) == -(-len(text) // 50)

    def test_loads_no_tensorflow(self, two: Path, file: Path) -> None:
        code = (
            "import sys; from sentstream_train.evaluate.run import evaluate; "
            f"evaluate({str(two)!r}, [{str(file)!r}]); "
            "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
        )
        path = os.pathsep.join((str(ROOT), str(ROOT / "train")))
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    from sentstream_train.config import DataConfig, FitConfig, NetworkConfig
    from sentstream_train.runs.train import train

    folder = tmp_path_factory.mktemp("runs")
    network = NetworkConfig(words=100, pairs=40, min_count=1, embedding=6, units=(6,), pooling="mean-max")
    fitting = FitConfig(epochs=3, batch_size=32, learning_rate=2e-2)
    data = write_synthetic(folder / "tweets.parquet", 400)
    train([data], folder / "mine", network=network, fitting=fitting, data=DataConfig(validation=0.2))
    return folder / "mine"


class TestKeras:
    def test_run(self, run: Path, tmp_path: Path) -> None:
        found = evaluate(run, [write_synthetic(tmp_path / "new.parquet", 150, neutral=True, seed=9)])
        assert found.model == {
            "kind": "keras",
            "name": "mine",
            "version": None,
            "digest": f"sha256:{sha256_of(run / 'model.keras')}",
            "labels": ["negative", "positive"],
        }
        assert set(found.rows.unknown_labels) == {"neutral"}
        assert found.metrics.accuracy > 0.85  # it learned, and the words mean the same here
        assert found.metrics.calibration is not None

    def test_keras_file_alone(self, run: Path, file: Path) -> None:
        assert evaluate(run / "model.keras", [file]).to_dict() == evaluate(str(run), [file]).to_dict()

    def test_row_alone_matches_its_batch(self, run: Path) -> None:
        predictor = open_model(run)
        assert isinstance(predictor, KerasPredictor)
        texts = pa.array(["love the bus", None, "today i hate the phone again", "  ", "win win win", "love"])
        done: list[tuple[int, int]] = []
        together = predictor.probabilities(texts, lambda *rows: done.append(rows))
        alone = np.concatenate([predictor.probabilities(texts.slice(row, 1)) for row in range(len(texts))])
        assert np.isnan(together).any(axis=1).tolist() == [False, True, False, True, False, False]
        np.testing.assert_allclose(together, alone, atol=1e-6)
        assert done[-1] == (6, 6)

    def test_unfinished_run(self, run: Path, file: Path, tmp_path: Path) -> None:
        tmp_path.joinpath("run.json").write_bytes(run.joinpath("run.json").read_bytes())
        with pytest.raises(CheckpointError, match="is the run finished"):
            evaluate(tmp_path, [file])
        with pytest.raises(CheckpointError, match=r"run\.json does not exist .*export-onnx"):
            evaluate(tmp_path / "elsewhere" / "model.keras", [file])


class TestChooseAmong:
    TWO = ("negative", "positive")

    def test_other_labels_are_dropped_and_probabilities_renormalized(self, three: Path) -> None:
        data = read_labeled(EXAMPLE, label_column="expected", labels=self.TWO)
        scored = sentstream.load(three).score(data.text)
        low, high = (scored[f"sentiment_prob_{label}"].to_numpy() for label in self.TWO)
        score = np.maximum(low, high) / (low + high)
        right = (high > low) == (data.label == 1)
        found = evaluate(
            three, [EXAMPLE], label_column="expected", labels=self.TWO, choose_among="judged", worst=1000
        )
        assert found.choose_among == "judged"
        assert found.model["labels"] == ["negative", "positive"]
        assert found.model["set_aside"] == ["neutral"]
        assert found.metrics.rows == len(right)
        assert found.metrics.correct == right.sum()
        assert [one.label for one in found.metrics.classes] == ["negative", "positive"]
        assert sum(one.predicted for one in found.metrics.classes) == len(right)
        calibration = found.metrics.calibration
        assert calibration is not None
        true = np.where(data.label == 1, high, low).astype(np.float64) / (low + high)
        assert calibration.log_loss == pytest.approx(-np.log(true).mean(), rel=1e-5)
        means = sum(one.rows * (one.confidence or 0) for one in calibration.bins) / len(right)
        assert means == pytest.approx(score.mean(), rel=1e-5)
        assert sorted(one.row for one in found.worst) == data.row[~right].tolist()
        for one in found.worst:
            assert one.score + one.label_probability == pytest.approx(1)
        assert found.coverage.points[0].accuracy == right.mean()

    def test_no_labels_are_dropped_by_default(self, three: Path) -> None:
        found = evaluate(three, [EXAMPLE], label_column="expected", labels=self.TWO)
        assert found.to_dict()["choose_among"] == "all"
        assert "set_aside" not in found.model
        assert found.model["labels"] == list(THREE)

    def test_no_change_without_other_labels(self, two: Path, three: Path) -> None:
        for model, labels in ((two, self.TWO), (three, THREE), (three, THREE[::-1])):
            wide, narrow = (
                evaluate(model, [EXAMPLE], label_column="expected", labels=labels, choose_among=how).to_dict()
                for how in ("all", "judged")
            )
            assert (wide.pop("choose_among"), narrow.pop("choose_among")) == ("all", "judged")
            assert narrow["model"].pop("set_aside") == []
            assert narrow == wide

    def test_both_models_of_a_comparison(self, two: Path, three: Path) -> None:
        settings: dict[str, Any] = {"label_column": "expected", "labels": self.TWO, "choose_among": "judged"}
        found = evaluate(two, [EXAMPLE], compare=[three], worst=1000, **settings)
        back = evaluate(three, [EXAMPLE], compare=[two], worst=1000, **settings)
        (forward,), (again,) = found.comparisons, back.comparisons
        assert forward.model["set_aside"] == ["neutral"]
        assert forward.model["labels"] == ["negative", "positive"]
        assert again.model["set_aside"] == []
        assert forward.accuracy == again.accuracy[::-1]
        assert forward.accuracy == (found.metrics.accuracy, back.metrics.accuracy)
        assert forward.only_first_rows == again.only_second_rows
        assert len(forward.only_first_rows) == forward.comparison.only_first > 0
        rows = [{one.row for one in some} for some in (forward.only_first_rows, forward.only_second_rows)]
        assert not rows[0] & rows[1]
        assert {one.predicted for one in forward.only_first_rows} <= set(self.TWO)

    def test_comparison_needs_evaluated_labels(self, three: Path, tmp_path: Path) -> None:
        other = make_bundle(tmp_path / "other", labels=("neutral", "positive"), name="other")
        with pytest.raises(
            UsageError, match=r"tiny and other share fewer .*negative, positive against positive"
        ):
            evaluate(
                three,
                [EXAMPLE],
                label_column="expected",
                labels=self.TWO,
                choose_among="judged",
                compare=[other],
            )

    def test_baselines_use_the_same_labels(self, three: Path) -> None:
        pytest.importorskip("sklearn")
        found = evaluate(
            three,
            [EXAMPLE],
            label_column="expected",
            labels=self.TWO,
            choose_among="judged",
            baselines=True,
        )
        assert all(one.metrics is not None for one in found.baselines)
        for one in found.baselines:
            assert one.metrics is not None
            assert [each.label for each in one.metrics.classes] == list(self.TWO)
            low, high = one.metrics.macro_recall_interval
            assert low < one.metrics.macro_recall < high

    @pytest.mark.parametrize("labels", [None, [], ["positive"], ["positive", "positive"]])
    def test_at_least_two_labels_are_needed(self, three: Path, file: Path, labels: list[str] | None) -> None:
        with pytest.raises(UsageError, match=r"needs at least two labels .*--labels negative,positive"):
            evaluate(three, [file], labels=labels, choose_among="judged")

    def test_labels_are_in_model_order(self, three: Path) -> None:
        found = Narrowed(open_model(three), ["positive", "odd", "negative"])
        assert found.labels == self.TWO
        assert found.about["set_aside"] == ["neutral"]
        texts = pa.array(["i love it", None, " ", "so bad"])
        whole, part = open_model(three).probabilities(texts), found.probabilities(texts)
        assert part.dtype == np.float32
        assert np.isnan(part).all(axis=1).tolist() == [False, True, True, False]
        np.testing.assert_allclose(part, whole[:, ::2] / whole[:, ::2].sum(axis=1, keepdims=True), rtol=1e-6)

    def test_rows_without_remaining_probability(self) -> None:
        tiny = np.float32(1e-45)
        table = np.array([[0, 0], [0, tiny], [0.1, 0.3], [np.nan, np.nan]], np.float32)
        found = renormalized(table)
        np.testing.assert_allclose(found, [[0.5, 0.5], [0, 1], [0.25, 0.75], [np.nan, np.nan]], rtol=1e-6)


class TestErrors:
    def test_run_without_tensorflow(
        self, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tmp_path.joinpath("run.json").write_text("{}")
        monkeypatch.setitem(sys.modules, "sentstream_train.store.trained", None)
        assert main(["evaluate", str(tmp_path), str(file)]) == 50
        assert how_to_install("train") in capsys.readouterr().err

    def test_missing_model(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleNotFoundError, match="nowhere"):
            evaluate("nowhere", [file])
        with pytest.raises(BundleDigestError, match="SHA256SUMS is missing"):
            evaluate(tmp_path, [file])

    def test_unknown_labels(self, two: Path, file: Path) -> None:
        with pytest.raises(UsageError, match=r"'neutral'.*its labels are negative, positive"):
            evaluate(two, [file], labels=["negative", "neutral"])

    def test_no_rows_with_known_labels(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "numbers.csv"
        path.write_text("text,label\nhi,0\nho,4\n")
        with pytest.raises(
            DataError, match=r"of the model: 0, 4 .*the model's labels are negative, positive"
        ):
            evaluate(two, [path])

    def test_only_blank_texts(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "blank.csv"
        path.write_text('text,label\n" ",positive\n"",negative\n')
        with pytest.raises(DataError, match="all 2 texts are null, empty or whitespace"):
            evaluate(two, [path])

    def test_missing_column(self, two: Path, file: Path) -> None:
        with pytest.raises(ColumnNotFoundError, match="--label-column"):
            evaluate(two, [file], label_column="mood")


class TestBaselines:
    def test_baselines_use_the_evaluated_rows(self, two: Path) -> None:
        pytest.importorskip("sklearn")
        found = evaluate(two, [EXAMPLE], label_column="expected", baselines=True)
        assert [one.name for one in found.baselines] == ["VADER", "TextBlob", LINEAR]
        for one in found.baselines:
            assert one.metrics is not None
            assert one.comparison is not None
            assert one.metrics.rows == found.metrics.rows
            difference = found.metrics.accuracy - one.metrics.accuracy
            assert one.comparison.difference == pytest.approx(difference)

    def test_training_rows_enable_baselines(self, two: Path, file: Path, tmp_path: Path) -> None:
        pytest.importorskip("sklearn")
        found = evaluate(two, [file], baseline_paths=[write_synthetic(tmp_path / "train.parquet", 200)])
        assert found.baselines[-1].method == "trained on 200 rows of train.parquet"
        assert evaluate(two, [file]).baselines == ()


@pytest.fixture(name="mixed")
def _mixed(tmp_path: Path) -> list[Path]:
    """Three files, of which the second has no row, with four rows to judge."""
    first, none, second = (tmp_path / name for name in ("a.csv", "b.csv", "c.parquet"))
    first.write_text("text,label,source\nodd one,odd,web\ni LOVE this?,positive,web\n ,negative,app\n")
    none.write_text("text,label,source\n")
    table = {"text": ["so bad", "not good", "a day"], "label": ["negative", "negative", "positive"]}
    pq.write_table(pa.table({**table, "source": ["app", None, "web"]}), second)
    return [first, none, second]


class TestDetails:
    def test_text_and_column_slices(self, two: Path, mixed: list[Path]) -> None:
        found = evaluate(two, mixed, slices=["source"])
        assert {(one.group, one.name): one.rows for one in found.slices} == {
            ("texts with", "negation"): 1,
            ("texts with", "questions"): 1,
            ("texts with", "words in capitals"): 1,
            ("length in tokens", "1 to 5"): 4,
            ("words the model does not know", "none"): 4,
            ("source", "web"): 2,
            ("source", "app"): 1,
            ("source", "(no value)"): 1,
        }

    def test_errors_are_named_by_file_and_row(self, two: Path, mixed: list[Path]) -> None:
        found = evaluate(two, mixed, worst=10, show_texts=True)
        texts = {
            ("a.csv", 1): "i LOVE this?",
            ("c.parquet", 0): "so bad",
            ("c.parquet", 1): "not good",
            ("c.parquet", 2): "a day",
        }
        assert len(found.worst) == found.metrics.rows - found.metrics.correct > 0
        for one in found.worst:
            assert texts[one.file, one.row] == one.text
            scored = sentstream.load(two).score([one.text])
            assert scored["sentiment"].to_pylist() == [one.predicted] != [one.label]
            assert scored["sentiment_score"].to_pylist() == [pytest.approx(one.score)]

    def test_texts_only_on_request(self, two: Path, mixed: list[Path]) -> None:
        quiet = json.dumps(evaluate(two, mixed).to_dict())
        loud = json.dumps(evaluate(two, mixed, show_texts=True).to_dict())
        texts = ("i LOVE this?", "so bad", "not good", "a day")
        assert not any(text in quiet for text in texts)
        assert any(text in loud for text in texts)

    def test_abstaining_matches_the_coverage(self, three: Path) -> None:
        data = read_labeled(EXAMPLE, label_column="expected", labels=list(THREE))
        model = sentstream.load(three)
        scored = model.score(data.text)
        scores = scored["sentiment_score"].to_numpy()
        right = np.array(scored["sentiment"].to_pylist()) == np.array(THREE)[data.label]
        points = evaluate(three, [EXAMPLE], label_column="expected").coverage.points
        assert len(points) > 5
        for point in points:
            kept = scores >= np.float32(point.threshold)
            assert (point.rows, point.accuracy) == (kept.sum(), pytest.approx(right[kept].mean()))

    def test_one_label_only(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "one.csv"
        path.write_text("text,label\n" + "love it,positive\n" * 120)
        found = evaluate(two, [path], compare=[two])
        assert found.recalibration.method == "skipped: the rows have one label only"
        assert [point.rows for point in found.coverage.points] == [120]
        assert found.comparisons[0].mcnemar.p == 1.0

    def test_comparison_with_different_labels(self, two: Path, three: Path) -> None:
        found = evaluate(three, [EXAMPLE], label_column="expected", compare=[two, three])
        fewer, same = found.comparisons
        alone = evaluate(three, [EXAMPLE], label_column="expected", labels=["negative", "positive"])
        assert fewer.labels == ("negative", "positive")
        assert fewer.rows == alone.metrics.rows
        assert fewer.accuracy[0] == alone.metrics.accuracy
        assert fewer.accuracy[1] == evaluate(two, [EXAMPLE], label_column="expected").metrics.accuracy
        assert fewer.macro_recall[0] == pytest.approx(alone.metrics.macro_recall)
        assert same.comparison.interval == same.macro_recall_interval == (0.0, 0.0)
        assert same.rows == found.metrics.rows

    def test_models_without_common_labels(self, two: Path, file: Path, tmp_path: Path) -> None:
        other = make_bundle(tmp_path / "other", labels=("positive", "sad"), name="other")
        with pytest.raises(UsageError, match="tiny and other share fewer than two labels"):
            evaluate(two, [file], compare=[other])

    def test_invalid_slices(self, two: Path, file: Path) -> None:
        with pytest.raises(ColumnNotFoundError, match=r"no column 'mood'.*--slice"):
            evaluate(two, [file], slices=["mood"])
        for column in ("text", "label"):
            with pytest.raises(UsageError, match=f"--slice {column} is the text or label column"):
                evaluate(two, [file], slices=[column])

    def test_calibration_recorded_in_a_bundle(self) -> None:
        figures = {"ece": 0.1, "log_loss": 0.5, "brier": 0.3}
        entry = {"temperature": 1.5, "n": 900, "after_is": "crossed", "before": figures, "after": figures}
        assert calibration_facts({"calibration": {**entry, "versions": {}}}) == {
            "calibration": {**entry, "before": figures, "after": figures}
        }
        for odd in ({}, {"calibration": None}, {"calibration": {**entry, "after": {"ece": "low"}}}):
            assert calibration_facts(odd) == {}


def walk(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in walk(item)]
    return [leaf for item in value for leaf in walk(item)] if isinstance(value, list) else [value]


class TestCommand:
    COLUMN = ("--label-column", "expected")

    def evaluate(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
        code = main(["evaluate", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    def test_json(self, two: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = self.evaluate(
            capsys, two, EXAMPLE, *self.COLUMN, "--labels", "negative,positive", "--json"
        )
        assert (code, err) == (0, "")
        data = json.loads(out)
        again = evaluate(two, [EXAMPLE], label_column="expected", labels=["negative", "positive"])
        assert data == again.to_dict()
        assert data["rows"]["judged"] == 226
        assert data["report"] == "evaluation"
        assert data["baselines"] == []
        assert str(two.parent) not in out  # no place on this machine
        assert all(leaf == leaf for leaf in walk(data))

    def test_choose_among(
        self, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = (three, EXAMPLE, *self.COLUMN, "--labels", "negative,positive")
        page = tmp_path / "page.html"
        code, out, _ = self.evaluate(capsys, *arguments, "--choose-among", "judged", "--html", page)
        assert code == 0
        words = "neutral; all metrics use the remaining probabilities, renormalized"
        assert words in " ".join(out.split())
        assert "predicted neutral" not in out
        assert words in page.read_text("utf-8")
        monkeypatch.setenv("SENTSTREAM_EVALUATE_CHOOSE_AMONG", "judged")
        code, out, _ = self.evaluate(capsys, *arguments, "--json")
        data = json.loads(out)
        assert (code, data["choose_among"], data["model"]["set_aside"]) == (0, "judged", ["neutral"])
        low, high = data["metrics"]["macro_recall_interval"]
        assert low < data["metrics"]["macro_recall"] < high

    def test_tables(self, three: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("sklearn")
        code, out, err = self.evaluate(capsys, three, EXAMPLE, *self.COLUMN, "--baselines")
        assert (code, err) == (0, "")
        for words in (
            "accuracy",
            "macro-recall",
            "is neutral",
            "VADER",
            "cross-validated",
            "rows evaluated",
            "mixed",
        ):
            assert words in out

    def test_html(self, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page = tmp_path / "page.html"
        code, _, err = self.evaluate(capsys, two, EXAMPLE, *self.COLUMN, "--html", page)
        assert (code, err) == (0, f"page: {page}\n")
        written = page.read_bytes()
        code, out, err = self.evaluate(capsys, two, EXAMPLE, *self.COLUMN, "--html", page)
        assert (code, out) == (20, "")
        assert "--overwrite" in err
        assert page.read_bytes() == written
        code, _, _ = self.evaluate(capsys, two, EXAMPLE, *self.COLUMN, "--html", page, "--overwrite")
        assert code == 0

    def test_detailed_output(
        self, two: Path, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "rows.csv"
        rows = [("i love it", "negative", "a"), ("so bad", "positive", "b"), ("great", "negative", "b")] * 9
        path.write_text("text,label,part\n" + "".join(",".join(row) + "\n" for row in rows))
        more = ("--slice", "part", "--compare", three, "--compare", two, "--worst", "2")
        page = tmp_path / "page.html"
        code, out, err = self.evaluate(capsys, two, path, *more, "--html", page)
        assert (code, err) == (0, f"page: {page}\n")
        for words in (
            "Slices: part",
            "Coverage",
            "McNemar",
            "2 of ",
            "skipped: 27 rows",
            "Only the evaluated model is correct: 2 of 9 rows of rows.csv",
        ):
            assert words in " ".join(out.split())
        texts = [row[0] for row in rows]
        assert not any(text in out + page.read_text("utf-8") for text in texts)
        code, out, _ = self.evaluate(capsys, two, path, *more, "--show-texts", "--json")
        data = json.loads(out)
        assert code == 0
        assert [one["model"]["labels"] for one in data["comparisons"]] == [list(THREE), list(THREE[::2])]
        assert len(data["worst"]) == 2
        first, same = data["comparisons"]
        assert len(first["only_first_rows"]) == min(2, first["comparison"]["only_first"])
        assert len(first["only_second_rows"]) == min(2, first["comparison"]["only_second"])
        one_sided = [*first["only_first_rows"], *first["only_second_rows"]]
        assert one_sided
        assert same["only_first_rows"] == same["only_second_rows"] == []
        assert all(row["text"] == texts[row["row"]] for row in (*data["worst"], *one_sided))

    def test_baseline_training_files(
        self, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("sklearn")
        data, first, second = (write_synthetic(tmp_path / f"{k}.parquet", 60, seed=k) for k in range(3))
        training = ("--baseline-train", first, "--baseline-train", second)
        code, out, _ = self.evaluate(capsys, two, data, *training, "--json")
        assert code == 0
        found = json.loads(out)["baselines"][-1]
        assert found["method"].startswith("trained on 1")
        assert found["method"].endswith("rows of 1.parquet, 2.parquet")

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            ([], 12, "expected"),
            (["--label-column", "expected", "--labels", "mixed"], 2, "has no label 'mixed'"),
            (
                ["--label-column", "expected", "--baseline-train", "nothing.csv"],
                10,
                "nothing.csv does not exist",
            ),
            (["--label-column", "expected", "--html", "."], 20, "is a directory"),
            (
                ["--label-column", "expected", "--slice", "expected"],
                2,
                "--slice expected is the text or label column",
            ),
            (["--label-column", "expected", "--slice", "i"], 12, "give an existing column to --slice"),
            (["--label-column", "expected", "--worst", "-1"], 2, "--worst"),
            (["--label-column", "expected", "--compare", "nowhere"], 30, "nowhere"),
            (["--choose-among", "judged"], 2, "--labels negative,positive"),
            (["--choose-among", "some"], 2, "--choose-among"),
        ],
    )
    def test_errors(
        self, two: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
    ) -> None:
        found, out, err = self.evaluate(capsys, two, EXAMPLE, *arguments)
        assert (found, out) == (code, "")
        assert words in err
        assert len(err.splitlines()) == 1


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
def test_published_protocol(two: Path) -> None:
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    rows = evaluate(two, [folder / "sentiment140/test.parquet"]).rows
    assert rows.unknown_labels == {"neutral": 139}
    assert rows.judged == 359


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
@pytest.mark.parametrize(("model", "accuracy"), [("tweets", 0.914), ("tweets-small", 0.919)])
def test_three_label_models_on_two_labels(model: str, accuracy: float) -> None:
    path = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")) / "sentiment140/test.parquet"
    found = evaluate(model, [path], labels=["negative", "positive"], choose_among="judged")
    assert found.metrics.rows == 359
    assert found.metrics.accuracy == pytest.approx(accuracy, abs=0.003)  # a row more or less, on another CPU
