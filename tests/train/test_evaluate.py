"""Evaluation of bundles and of Keras runs: which rows count, whose figures they are, the command."""

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
)
from sentstream_train.baselines import LINEAR
from sentstream_train.evaluate import evaluate
from sentstream_train.labeled import read_labeled, sha256_of
from sentstream_train.predictor import BundlePredictor, KerasPredictor, open_model

ROOT = Path(__file__).resolve().parents[2]
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
    def test_unknown_labels_and_blank_texts_are_left_out_and_counted(self, two: Path, file: Path) -> None:
        rows = evaluate(two, [file]).rows
        assert rows.to_dict() == {
            "read": 13,
            "without_label": 1,
            "other_labels": {},
            "unknown_labels": {"neutral": 2, "odd": 1},
            "blank": 2,
            "judged": 7,
        }

    def test_labels_restrict_the_rows(self, two: Path, file: Path) -> None:
        found = evaluate(two, [file], labels=["positive"])
        assert found.rows.other_labels == {"negative": 5, "neutral": 2, "odd": 1}
        assert found.rows.unknown_labels == {}
        assert found.metrics.rows == found.rows.judged == 3
        assert [one.support for one in found.metrics.classes] == [0, 3]

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

    def test_the_model_chooses_among_all_its_labels(self, three: Path) -> None:
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

    def test_repeated_rows_are_all_judged(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "twice.csv"
        path.write_text("text,label\n" + "love it,positive\n" * 3)
        assert evaluate(two, [path]).metrics.rows == 3


class TestLabels:
    def test_the_order_of_the_models_labels_is_kept(self, tmp_path: Path, file: Path) -> None:
        model = make_bundle(tmp_path / "turned", labels=("positive", "negative"))
        found = evaluate(model, [file])
        assert [one.label for one in found.metrics.classes] == ["positive", "negative"]
        assert [one.support for one in found.metrics.classes] == [3, 4]
        # The same network under swapped names is right where the other was wrong.
        other = evaluate(make_bundle(tmp_path / "straight"), [file])
        assert found.metrics.correct == other.metrics.rows - other.metrics.correct

    def test_whole_numbers_are_labels(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.parquet"
        pq.write_table(pa.table({"text": ["i love it", "i hate it", "a day"], "label": [4, 0, 2]}), path)
        found = evaluate(make_bundle(tmp_path / "b", labels=("0", "4")), [path])
        assert found.rows.unknown_labels == {"2": 1}
        assert found.metrics.rows == 2

    def test_the_official_file_needs_no_option(self, two: Path, tmp_path: Path) -> None:
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

    def test_a_label_may_be_missing_from_the_data(self, three: Path, tmp_path: Path) -> None:
        path = tmp_path / "one.csv"
        path.write_text("text,label\nlove it,positive\nhate it,positive\n")
        metrics = evaluate(three, [path]).metrics
        assert [one.recall is None for one in metrics.classes] == [True, True, False]
        assert metrics.macro_recall == metrics.classes[2].recall


class TestBundle:
    def test_figures_are_those_of_scoring(self, three: Path) -> None:
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

    def test_says_which_model(self, two: Path, file: Path) -> None:
        bundle = sentstream.load(two)
        assert evaluate(two, [file]).model == {
            "kind": "bundle",
            "name": "tiny",
            "version": "0.0.1",
            "digest": bundle.digest,
            "labels": ["negative", "positive"],
        }

    def test_a_text_is_read_up_to_the_bundles_cap(self, tmp_path: Path) -> None:
        model = make_bundle(tmp_path / "short", max_chars=10)
        texts = pa.array(["i love it.", "i love it. awful awful awful", "awful awful awful"])
        table = open_model(model).probabilities(texts)
        assert np.array_equal(table[0], table[1])
        assert not np.array_equal(table[0], table[2])

    def test_nothing_in_nothing_out(self, two: Path) -> None:
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
        monkeypatch.setattr("sentstream_train.predictor._ROWS_AT_ONCE", 50)
        done: list[tuple[int, int]] = []
        assert np.array_equal(
            predictor.probabilities(text, lambda *rows: done.append(rows)), whole, equal_nan=True
        )
        assert done[-1] == (len(text), len(text))
        assert len(done) == -(-len(text) // 50)

    def test_loads_no_tensorflow(self, two: Path, file: Path) -> None:
        code = (
            "import sys; from sentstream_train.evaluate import evaluate; "
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
    from sentstream_train.run import train

    folder = tmp_path_factory.mktemp("runs")
    network = NetworkConfig(words=100, pairs=40, min_count=1, embedding=6, units=(6,), pooling="mean-max")
    fitting = FitConfig(epochs=3, batch_size=32, learning_rate=2e-2)
    data = write_synthetic(folder / "tweets.parquet", 400)
    train([data], folder / "mine", network=network, fitting=fitting, data=DataConfig(validation=0.2))
    return folder / "mine"


class TestKeras:
    def test_a_run(self, run: Path, tmp_path: Path) -> None:
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

    def test_its_file_alone_will_do(self, run: Path, file: Path) -> None:
        assert evaluate(run / "model.keras", [file]).to_dict() == evaluate(str(run), [file]).to_dict()

    def test_a_row_alone_gets_what_it_gets_in_a_batch(self, run: Path) -> None:
        predictor = open_model(run)
        assert isinstance(predictor, KerasPredictor)
        texts = pa.array(["love the bus", None, "today i hate the phone again", "  ", "win win win", "love"])
        done: list[tuple[int, int]] = []
        together = predictor.probabilities(texts, lambda *rows: done.append(rows))
        alone = np.concatenate([predictor.probabilities(texts.slice(row, 1)) for row in range(len(texts))])
        assert np.isnan(together).any(axis=1).tolist() == [False, True, False, True, False, False]
        np.testing.assert_allclose(together, alone, atol=1e-6)
        assert done[-1] == (6, 6)

    def test_an_unfinished_run(self, run: Path, file: Path, tmp_path: Path) -> None:
        tmp_path.joinpath("run.json").write_bytes(run.joinpath("run.json").read_bytes())
        with pytest.raises(CheckpointError, match="is the run finished"):
            evaluate(tmp_path, [file])
        with pytest.raises(CheckpointError, match=r"run\.json is not there .*export-onnx"):
            evaluate(tmp_path / "elsewhere" / "model.keras", [file])


class TestErrors:
    def test_a_run_without_tensorflow(
        self, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tmp_path.joinpath("run.json").write_text("{}")
        monkeypatch.setitem(sys.modules, "sentstream_train.trained", None)
        assert main(["evaluate", str(tmp_path), str(file)]) == 50
        assert "sentstream[train]" in capsys.readouterr().err

    def test_no_such_model(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleNotFoundError, match="nowhere"):
            evaluate("nowhere", [file])
        with pytest.raises(BundleDigestError, match="SHA256SUMS is missing"):
            evaluate(tmp_path, [file])

    def test_labels_that_the_model_does_not_know(self, two: Path, file: Path) -> None:
        with pytest.raises(UsageError, match=r"'neutral'.*its labels are negative, positive"):
            evaluate(two, [file], labels=["negative", "neutral"])

    def test_no_row_with_a_label_that_it_knows(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "numbers.csv"
        path.write_text("text,label\nhi,0\nho,4\n")
        with pytest.raises(DataError, match=r"knows: 0, 4 .*its labels are negative, positive"):
            evaluate(two, [path])

    def test_nothing_but_blanks(self, two: Path, tmp_path: Path) -> None:
        path = tmp_path / "blank.csv"
        path.write_text('text,label\n" ",positive\n"",negative\n')
        with pytest.raises(DataError, match="all 2 texts are null, empty or white space"):
            evaluate(two, [path])

    def test_no_such_column(self, two: Path, file: Path) -> None:
        with pytest.raises(ColumnNotFoundError, match="--label-column"):
            evaluate(two, [file], label_column="mood")


class TestBaselines:
    def test_they_are_judged_on_the_judged_rows(self, two: Path) -> None:
        pytest.importorskip("sklearn")
        found = evaluate(two, [EXAMPLE], label_column="expected", baselines=True)
        assert [one.name for one in found.baselines] == ["VADER", "TextBlob", LINEAR]
        for one in found.baselines:
            assert one.metrics is not None
            assert one.comparison is not None
            assert one.metrics.rows == found.metrics.rows
            difference = found.metrics.accuracy - one.metrics.accuracy
            assert one.comparison.difference == pytest.approx(difference)

    def test_training_rows_imply_them(self, two: Path, file: Path, tmp_path: Path) -> None:
        pytest.importorskip("sklearn")
        found = evaluate(two, [file], baseline_paths=[write_synthetic(tmp_path / "train.parquet", 200)])
        assert found.baselines[-1].method == "trained on 200 rows of train.parquet"
        assert evaluate(two, [file]).baselines == ()


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
            "rows judged",
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
            (["--label-column", "expected", "--labels", "mixed"], 2, "does not know the label 'mixed'"),
            (
                ["--label-column", "expected", "--baseline-train", "nothing.csv"],
                10,
                "nothing.csv does not exist",
            ),
            (["--label-column", "expected", "--html", "."], 20, "is a directory"),
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
def test_the_published_practice(two: Path) -> None:
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    rows = evaluate(two, [folder / "sentiment140/test.parquet"]).rows
    assert rows.unknown_labels == {"neutral": 139}
    assert rows.judged == 359
