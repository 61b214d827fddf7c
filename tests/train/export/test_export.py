"""Export: every kind of network that Keras can train here becomes a bundle that computes the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import write_synthetic

pytest.importorskip("tensorflow")

import keras

from sentstream.bundle import load_bundle
from sentstream.cli import main
from sentstream.errors import (
    BundleNotFoundError,
    DataError,
    InputError,
    InputNotFoundError,
    ModelFormatError,
    OutputExistsError,
    ParityError,
    UsageError,
)
from sentstream.model import Model
from sentstream.session import Session
from sentstream.text import Encoded, TextRules
from sentstream_train.config import DataConfig, FitConfig, NetworkConfig
from sentstream_train.elsewhere.padding import Padding
from sentstream_train.export import precision
from sentstream_train.export.parity import TOLERANCE, draw_rows, measure_parity
from sentstream_train.export.run import export
from sentstream_train.network.arrays import Network, all_arrays
from sentstream_train.network.conversion import from_keras, to_keras
from sentstream_train.network.model import build_model
from sentstream_train.network.onnx_graph import to_onnx
from sentstream_train.network.predict import keras_probabilities
from sentstream_train.network.tables import fold, to_int8
from sentstream_train.runs.fine_tune import fine_tune
from sentstream_train.runs.result import TrainResult
from sentstream_train.runs.train import train
from sentstream_train.store import trained as trained_module
from sentstream_train.store.trained import network_of, open_trained

layers = keras.layers
NETWORK = NetworkConfig(
    words=200, pairs=100, min_count=1, embedding=8, units=(8, 6), pooling="mean-max", dropout=0.2
)
WORDS = ["<pad>", "<unk>", *(f"word{n}" for n in range(28))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train_small(tmp_path_factory.mktemp("export"), replace(NETWORK, units=(8,)))


@pytest.fixture(scope="module")
def clipped(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    network = replace(NETWORK, units=(8, 8), activation="hard_tanh")
    return train_small(tmp_path_factory.mktemp("clipped"), network)


def train_small(folder: Path, network: NetworkConfig) -> TrainResult:
    data = write_synthetic(folder / "tweets.parquet", 400)
    fitting = FitConfig(epochs=2, batch_size=32, learning_rate=1e-2)
    return train([data], folder / "run", network=network, fitting=fitting, data=DataConfig(validation=0.3))


@pytest.fixture(scope="module")
def bundle(trained: TrainResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained.folder.path, tmp_path_factory.mktemp("bundles") / "small").bundle.path


def shaken(model: keras.Sequential, seed: int = 0) -> keras.Sequential:
    """The same network with larger weights, so that a wrong gate or a lost bias shows."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [random.normal(0, 0.5, weight.shape).astype(np.float32) for weight in model.get_weights()]
    )
    return model


def outputs(network: Network, rows: Encoded) -> np.ndarray[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    table = np.full((len(rows), network.classes), np.nan, np.float32)
    for row in range(len(rows)):
        span = slice(rows.offsets[row], rows.offsets[row + 1])
        feed = {"words": rows.words[None, span]}
        if rows.pairs is not None and network.lookup.pairs is not None:
            feed["pairs"] = rows.pairs[None, span]
        table[row] = session.run(None, feed)[0][0]
    return table


def ids(words: int, pairs: int | None, lengths: tuple[int, ...] = (1, 2, 7, 30), seed: int = 3) -> Encoded:
    random = np.random.default_rng(seed)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    found = random.integers(1, words, offsets[-1]).astype(np.int32)
    return Encoded(
        offsets, found, None if pairs is None else random.integers(0, pairs + 1, offsets[-1]).astype(np.int32)
    )


KINDS = [
    ("simple", False, "last", 0),
    ("simple", False, "mean-max", 9),
    ("simple", True, "max", 9),
    ("gru", False, "last", 0),
    ("gru", True, "mean-max", 9),
    ("lstm", False, "mean", 9),
    ("lstm", True, "last", 0),
]


@pytest.mark.parametrize(("cell", "bidirectional", "pooling", "pairs"), KINDS)
def test_every_network_exports_exactly(cell: Any, bidirectional: bool, pooling: Any, pairs: int) -> None:
    config = replace(NETWORK, cell=cell, bidirectional=bidirectional, pooling=pooling, pairs=pairs)
    model = shaken(build_model(config, words=30, pairs=pairs, classes=3, seed=1))
    rows = ids(30, pairs or None)
    expected = keras_probabilities(model, rows)
    network = from_keras(model)
    for version in (network, fold(network)):
        np.testing.assert_allclose(outputs(version, rows), expected, atol=2e-6)
        np.testing.assert_allclose(keras_probabilities(to_keras(version), rows), expected, atol=2e-6)
    assert fold(network).lookup.width == {"simple": 1, "gru": 3, "lstm": 4}[cell] * 8 * (1 + bidirectional)
    small = to_int8(fold(network))
    assert small.lookup.words.dtype == np.int8
    np.testing.assert_allclose(outputs(small, rows), keras_probabilities(to_keras(small), rows), atol=2e-6)


ELSEWHERE: dict[str, Callable[[], list[Any]]] = {
    "the seed's four layers": lambda: [
        layers.Embedding(30, 8, mask_zero=True),
        layers.SimpleRNN(8, return_sequences=True),
        layers.SimpleRNN(6),
        layers.Dense(2, activation="softmax"),
    ],
    "one sigmoid": lambda: [
        layers.Embedding(30, 8, mask_zero=True),
        layers.LSTM(5),
        layers.Dense(1, activation="sigmoid"),
    ],
    "a GRU of the old kind": lambda: [
        layers.Embedding(30, 8, mask_zero=True),
        layers.GRU(5, reset_after=False),
        layers.Dense(2, activation="softmax"),
    ],
    "no biases": lambda: [
        layers.Embedding(30, 8, mask_zero=True),
        layers.GRU(5, use_bias=False),
        layers.Dense(2, use_bias=False),
        layers.Softmax(),
    ],
    "backwards, other functions": lambda: [
        layers.Embedding(30, 8, mask_zero=True),
        layers.LSTM(5, go_backwards=True, activation="softsign", recurrent_activation="hard_sigmoid"),
        layers.Dense(4, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(2),
        layers.Activation("softmax"),
    ],
    "global pooling": lambda: [
        layers.Embedding(30, 8),
        layers.SpatialDropout1D(0.1),
        layers.Bidirectional(layers.SimpleRNN(5, return_sequences=True, activation="relu")),
        layers.GlobalMaxPooling1D(),
        layers.Dense(2, activation="softmax"),
    ],
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_models_trained_elsewhere(kind: str, tmp_path: Path) -> None:
    model = shaken(keras.Sequential([keras.Input((None,)), *ELSEWHERE[kind]()]))
    model.save(tmp_path / "model.keras")
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    result = export(
        tmp_path / "model.keras",
        tmp_path / "bundle",
        vocabulary=tmp_path / "words.txt",
        labels=["bad", "good"],
        rules=TextRules.preset("keras-tokenizer"),
        padding=None if any(getattr(layer, "mask_zero", False) for layer in model.layers) else Padding(0),
    )
    parity = result.bundle.config["parity"]
    assert parity["max_abs_difference"] < TOLERANCE
    assert parity["of"] == "drawn token ids"
    assert parity["longest"] == 64
    assert result.bundle.labels == ("bad", "good")
    text = pa.array(["word3 word4, word5!", "word1"])
    expected = keras_probabilities(model, result.bundle.text.encode(text))
    np.testing.assert_allclose(
        Session(result.bundle, "cpu").probabilities(result.bundle.text.encode(text)), expected, atol=1e-6
    )


def test_unused_embedding_rows_are_cut(tmp_path: Path) -> None:
    chain = [
        layers.Embedding(50, 4, mask_zero=True),
        layers.SimpleRNN(3),
        layers.Dense(2, activation="softmax"),
    ]
    keras.Sequential([keras.Input((None,)), *chain]).save(tmp_path / "m.keras")
    (tmp_path / "words.txt").write_text("\n[UNK]\n" + "\n".join(WORDS[2:]) + "\n")
    result = export(
        tmp_path / "m.keras", tmp_path / "b", vocabulary=tmp_path / "words.txt", labels=["a", "b"]
    )
    assert result.bundle.config["vocabulary"]["words"] == 30


class TestRunBundle:
    def test_bundle_records_its_provenance(self, trained: TrainResult, bundle: Path) -> None:
        loaded = load_bundle(bundle)
        config = loaded.config
        assert config["labels"] == ["negative", "positive"]
        assert config["provenance"]["training"]["epochs"] == 2
        assert config["provenance"]["data"][0]["name"] == "tweets.parquet"
        assert config["provenance"]["network"]["width"] == 8
        assert config["metrics"]["validation"]["n"] == trained.report.validation
        assert config["parity"]["of"] == "held-out rows"
        assert config["parity"]["max_abs_difference"] < TOLERANCE
        assert "tweets.parquet" in loaded.card
        assert loaded.card.startswith("---\n")
        assert str(bundle.parent) not in loaded.card + json.dumps(config)

    def test_same_run_gives_same_digest(self, trained: TrainResult, bundle: Path, tmp_path: Path) -> None:
        again = export(trained.folder.model, tmp_path / "again", name="small")
        assert again.bundle.digest == load_bundle(bundle).digest

    def test_int8_tables_are_small_and_report_changes(self, trained: TrainResult, tmp_path: Path) -> None:
        plain = export(trained.folder.path, tmp_path / "plain").bundle
        small = export(trained.folder.path, tmp_path / "small", tables="int8").bundle
        assert len(small.model) < len(plain.model)
        rounding = small.config["parity"]["rounding"]
        assert 0 < rounding["max_abs_difference"] < 0.05
        assert small.config["parity"]["max_abs_difference"] < TOLERANCE
        assert "int8" in small.card

    def test_int8_recurrence_reports_changes(
        self, trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sentstream_train.export.precision.MOST_CHANGED", 0.02)  # of so small a network
        monkeypatch.setattr("sentstream_train.export.precision.MOST_LOST", 0.02)
        data = write_synthetic(tmp_path / "more.parquet", 1500, seed=8)
        plain = export(trained.folder.path, tmp_path / "plain").bundle
        made = export(trained.folder.path, tmp_path / "b", precision="int8", evaluate=[f"More rows={data}"])
        config = made.bundle.config
        assert config["provenance"]["network"]["precision"] == "int8"
        assert plain.config["provenance"]["network"]["precision"] == "fp32"
        assert b"MatMulInteger" in made.bundle.model
        assert b"MatMulInteger" not in plain.model
        assert config["parity"]["max_abs_difference"] < TOLERANCE  # of fp32 from Keras
        moved = config["parity"]["precision"]
        assert [one["of"] for one in moved["on"]] == ["held-out rows", "More rows"]
        assert 0 < moved["max_abs_difference"] < 0.05
        assert moved["labels_changed"] <= 0.02 * moved["rows"]
        assert "| More rows | 1,500 |" in made.bundle.card.split("run in int8")[1]

    @pytest.mark.parametrize("activation", ["tanh", "hard_tanh"])
    def test_int8_is_not_rounded_again(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        activation: str,
    ) -> None:
        trained: TrainResult = request.getfixturevalue("trained" if activation == "tanh" else "clipped")
        monkeypatch.setattr("sentstream_train.export.precision.MOST_CHANGED", 0.02)  # of so small a network
        judged = [f"{name}={write_synthetic(tmp_path / f'{name}.parquet', 90, seed=8)}" for name in "ZA"]
        stored: dict[str, Any] = {"tables": "int8", "precision": "int8", "evaluate": judged}
        first = export(trained.folder.path, tmp_path / "first", **stored).bundle
        # What no rounding would pass: the model before ran in int8, too.
        monkeypatch.setattr("sentstream_train.export.precision.MOST_LOST", -1.0)
        again = export(first.path, tmp_path / "again", **stored).bundle
        before, after = (all_arrays(network_of(bundle)) for bundle in (first, again))
        assert before.keys() == after.keys()
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array)
        assert "Rounding them moved a probability" in first.card
        assert first.config["parity"]["precision"]["against"] == "the same network in fp32"
        assert "rounding" not in again.config["parity"]
        assert "as they were in the model before: nothing was rounded" in again.card
        assert again.config["parity"]["precision"]["against"] == "the same weights in fp32"
        assert "most_lost" in first.config["parity"]["precision"]
        assert "most_lost" not in again.config["parity"]["precision"]
        assert "Beside the same weights in fp32" in again.card
        figures = [
            bundle.card[bundle.card.index("## How good") :].splitlines()[2:7] for bundle in (first, again)
        ]
        assert figures[0] == figures[1]
        assert [line.split(" | ")[0] for line in figures[0][3:]] == ["| Z", "| A"]

    def test_clipped_network_runs_on_whole_numbers(
        self, clipped: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Through ``score``, with all checks and messages of an export."""
        monkeypatch.setattr("sentstream_train.export.precision.MOST_CHANGED", 0.02)  # of so small a network
        stored: dict[str, Any] = {"tables": "int8", "precision": "int8"}
        bundle = export(clipped.folder.path, tmp_path / "b", **stored).bundle
        assert "SimpleRNN of 8 units (hard_tanh)" in bundle.card
        assert "activation hard_tanh" in bundle.card
        assert bundle.config["parity"]["max_abs_difference"] < TOLERANCE  # of fp32 from Keras, Clip and all
        assert b"Tanh" not in bundle.model
        assert b"DequantizeLinear" in bundle.model
        data = write_synthetic(tmp_path / "more.parquet", 300, seed=9)
        texts = pq.read_table(data, columns=["text"])["text"]
        model = Model.load(str(bundle.path), provider="cpu", threads=1)
        column = pa.array(texts.to_pylist())
        whole = model.score_batch(pa.record_batch({"text": column}))
        order = np.random.default_rng(1).permutation(300)
        mixed = model.score_batch(pa.record_batch({"text": column.take(pa.array(order))}))
        assert mixed.equals(whole.take(pa.array(order)))
        alone = [model.score_batch(pa.record_batch({"text": column.slice(row, 1)})) for row in range(20)]
        assert pa.Table.from_batches(alone).combine_chunks().to_batches()[0].equals(whole.slice(0, 20))
        expected = keras_probabilities(clipped.model, model.bundle.text.encode(column))
        found = Session(bundle, "cpu").probabilities(model.bundle.text.encode(column))
        assert np.abs(found - expected).mean() < 0.02

    def test_inaccurate_int8_recurrence_is_rejected(
        self, trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sentstream_train.network.quantized.MOST_WEIGHT", 1)  # three values a weight
        data = write_synthetic(tmp_path / "more.parquet", 1500, seed=8)
        with pytest.raises(ParityError, match=r"int8 .* allowed"):
            export(trained.folder.path, tmp_path / "b", precision="int8", evaluate=[data])
        assert not (tmp_path / "b").exists()

    def test_int8_may_lose_what_chance_explains(self) -> None:
        """Five of a thousand rows may be; five thousand of a million are not."""

        def one(scale: int) -> dict[str, Any]:
            lost, error = 0.005, (9 * scale) ** 0.5 / (1000 * scale)
            return {
                **{"of": "some", "rows": 1000 * scale},
                **{"accuracy_fp32": 0.8, "accuracy_int8": 0.8 - lost, "accuracy_standard_error": error},
            }

        precision._check([one(1)], 5, 1000)
        with pytest.raises(ParityError, match=r"loses 0\.50 points of accuracy on some, but only 0\.22 are"):
            precision._check([one(1000)], 5000, 1_000_000)

    def test_metrics_on_labeled_rows(self, trained: TrainResult, tmp_path: Path) -> None:
        data = write_synthetic(tmp_path / "more.parquet", 120, neutral=True, seed=8)
        metrics = export(trained.folder.path, tmp_path / "b", evaluate=[data]).bundle.config["metrics"][
            "more.parquet"
        ]
        assert 0 < metrics["n"] < 120  # neutral rows have no place in a model of two labels
        assert metrics["interval"][0] <= metrics["accuracy"] <= metrics["interval"][1]

    def test_card_has_metrics_slices_and_notes(self, trained: TrainResult, tmp_path: Path) -> None:
        data = write_synthetic(tmp_path / "more.parquet", 120, seed=8)
        again = write_synthetic(tmp_path / "again.parquet", 60, seed=9)
        notes = tmp_path / "notes.md"
        notes.write_text("## Limits\n\n- mine\n\n## Biases\n\n- yours\n")
        made = export(trained.folder.path, tmp_path / "b", evaluate=[f"More rows={data}", again], notes=notes)
        metrics = made.bundle.config["metrics"]
        assert list(metrics) == ["More rows", "again.parquet", "validation"]  # sorted, as any config
        assert sum(one["rows"] for one in metrics["More rows"]["slices"] if "length" in one["group"]) == 120
        card = made.bundle.card
        assert card.index("| held out in") < card.index("| More rows | 120 |") < card.index("| again.parquet")
        assert card.index("### More rows") < card.index("| negation |") < card.index("### again.parquet")
        assert card.endswith("of a text.\n- mine\n\n## Biases\n\n- yours\n")

    def test_notes_and_names_are_checked_first(self, trained: TrainResult, tmp_path: Path) -> None:
        with pytest.raises(InputNotFoundError):
            export(tmp_path / "no model", tmp_path / "b", notes=tmp_path / "none.md")
        with pytest.raises(UsageError, match="same name"):
            export(tmp_path / "no model", tmp_path / "b", evaluate=["a/x.csv", "b/x.csv"])

    def test_command(
        self,
        trained: TrainResult,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        data = write_synthetic(tmp_path / "more.parquet", 120, seed=8)
        notes = tmp_path / "notes.md"
        notes.write_text("nothing but text\n")
        arguments = ["export-onnx", str(trained.folder.path), "-o", str(tmp_path / "b"), "--json"]
        monkeypatch.setenv("SENTSTREAM_EXPORT_ONNX_EVALUATE", f"By the environment={data}")
        monkeypatch.setenv("SENTSTREAM_EXPORT_ONNX_NOTES", str(notes))
        assert main(arguments) == InputError.exit_code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "notes.md have no section" in err
        assert not (tmp_path / "b").exists()
        notes.write_text("## Speed\n\nfast\n")
        assert main([*arguments, "--evaluate", f"Some rows={data}"]) == 0
        assert list(json.loads(capsys.readouterr().out)["metrics"]) == ["Some rows", "validation"]
        assert "\n## Speed\n\nfast\n\n## Limits\n" in load_bundle(tmp_path / "b").card
        assert main([*arguments, "--overwrite"]) == 0
        assert "By the environment" in json.loads(capsys.readouterr().out)["metrics"]

    def test_parity_on_given_texts(self, trained: TrainResult, tmp_path: Path) -> None:
        data = write_synthetic(tmp_path / "texts.parquet", 50, seed=4)
        parity = export(trained.folder.path, tmp_path / "b", parity_data=data).bundle.config["parity"]
        assert parity["of"] == "texts that were given"
        assert parity["rows"] == 50

    def test_network_round_trip(self, trained: TrainResult, bundle: Path) -> None:
        network = network_of(load_bundle(bundle))
        rows = draw_rows(load_bundle(bundle).text)
        np.testing.assert_allclose(
            keras_probabilities(to_keras(network), rows), keras_probabilities(trained.model, rows), atol=2e-6
        )

    def test_bundle_can_be_fine_tuned(self, bundle: Path, tmp_path: Path) -> None:
        data = write_synthetic(tmp_path / "three.parquet", 120, neutral=True, seed=9)
        fitting = FitConfig(epochs=2, batch_size=16, learning_rate=5e-3, patience=1)
        tuned = fine_tune(
            bundle, [data], tmp_path / "tuned", fitting=fitting, data=DataConfig(validation=0.2), thaw="head"
        )
        assert tuned.record.to_dict()["labels"] == ["negative", "neutral", "positive"]
        again = export(tuned.folder.path, tmp_path / "again").bundle
        assert again.config["provenance"]["from"]["bundle"]["name"] == "small"
        assert "fine_tuning" in again.config["provenance"]

    def test_existing_bundle_is_not_replaced(
        self, trained: TrainResult, bundle: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(OutputExistsError):
            export(trained.folder.path, bundle)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "diary.txt").write_text("dear")
        with pytest.raises(OutputExistsError, match="not a bundle"):
            export(trained.folder.path, tmp_path / "mine", overwrite=True)


def test_differing_graph_is_rejected(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slightly_wrong(network: Network, wordless: Any = None) -> bytes:
        words = network.lookup.words * np.float32(1.001)
        return to_onnx(replace(network, lookup=replace(network.lookup, words=words)))

    monkeypatch.setattr(trained_module, "to_onnx", slightly_wrong)
    with pytest.raises(ParityError, match=r"differ by .* on a row of \d+ tokens"):
        export(trained.folder.path, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.iterdir())


def test_non_finite_weights_are_rejected(trained: TrainResult, bundle: Path) -> None:
    loaded = load_bundle(bundle)
    broken = keras.models.clone_model(trained.model)
    broken.set_weights([np.full_like(weight, np.nan) for weight in trained.model.get_weights()])
    with pytest.raises(ParityError):
        measure_parity(Session(loaded, "cpu"), broken, draw_rows(loaded.text), "drawn")


def test_unsupported_network_is_reported() -> None:
    for chain, message in (
        ([layers.GRU(3, activation="gelu"), layers.Dense(2, "softmax")], "activation gelu"),
        ([layers.Bidirectional(layers.GRU(3), merge_mode="sum"), layers.Dense(2, "softmax")], "by 'sum'"),
        ([layers.Dense(3), layers.SimpleRNN(3), layers.Dense(2, "softmax")], "time steps"),
        (
            [
                layers.GRU(3, go_backwards=True, return_sequences=True),
                layers.GRU(3),
                layers.Dense(2, "softmax"),
            ],
            "goes backwards",
        ),
    ):
        with pytest.raises(ModelFormatError, match=message):
            from_keras(keras.Sequential([keras.Input((None,)), layers.Embedding(9, 4), *chain]))


@pytest.fixture(name="four")
def _four(tmp_path: Path) -> Path:
    chain = [
        layers.Embedding(30, 4, mask_zero=True),
        layers.SimpleRNN(3),
        layers.Dense(2, activation="softmax"),
    ]
    keras.Sequential([keras.Input((None,)), *chain]).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<pad>", "has 1 line \\("),
        ("\n".join([*WORDS, "one", "more"]), "32 tokens, but the model's embedding has 30"),
        ("\n".join([*WORDS[:9], "word3"]), "'word3' more than once"),
        ('{"the": 1, "a": 2}', "no unknown word"),
        (
            '{"config": {"word_index": "{\\"the\\": 1}", "oov_token": "<x>"}}',
            "already says how texts are split",
        ),
        ('{"<unk>": 1, "a": 3}', "do not run from 1"),
        ('{"<unk>": "one"}', "not a JSON object that maps tokens to IDs"),
        ("{broken", "not a JSON object that maps tokens to IDs"),
    ],
)
def test_vocabulary_of_wrong_size(four: Path, content: str, message: str) -> None:
    words = four.with_name("words")
    words.write_text(content)
    with pytest.raises((DataError, UsageError), match=message):
        export(four, four.with_name("b"), vocabulary=words, labels=["a", "b"], rules=TextRules())


def test_missing_files_are_named(four: Path, trained: TrainResult) -> None:
    with pytest.raises(UsageError, match="--vocabulary is missing"):
        open_trained(four, labels=["a", "b"])
    words = four.with_name("words.txt")
    words.write_text("\n".join(WORDS))
    with pytest.raises(UsageError, match="--labels is missing"):
        open_trained(four, vocabulary=words)
    with pytest.raises(UsageError, match="not 2 different labels"):
        open_trained(four, vocabulary=words, labels=["a", "a"])
    with pytest.raises(UsageError, match="already has its vocabulary"):
        open_trained(trained.folder.path, labels=["a", "b"])
    with pytest.raises(BundleNotFoundError):
        open_trained(four.with_name("nothing"))
    with pytest.raises(ModelFormatError, match=r"not a \.keras file"):
        open_trained(shutil.copy(four, four.with_name("model.h5")))
