"""Models as tutorials make them, with every kind of vocabulary: the results of Keras, or a one-line refusal.

Each is built and saved here, exported, and compared with Keras starting from the text; export refuses any
difference.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf

from sentstream import Model
from sentstream.cli import main
from sentstream.errors import DataError, ModelFormatError, SentstreamError, UsageError
from sentstream.text import TextRules
from sentstream_train.elsewhere.padding import Padding
from sentstream_train.elsewhere.texts import odd_texts
from sentstream_train.export import run
from sentstream_train.export.run import Export, export
from sentstream_train.store.trained import open_trained

L = keras.layers
#: Keras warns where such models are made, as it does those who make them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
LABELS = ["negative", "positive"]
LENGTH = 9
TEXTS_COMPARED = 100
TEXTS = [
    "I love this, it's SO good!!! :-)",
    "bad bad day... can't   sleep #fail @you",
    "what a lovely\nday \u00c9t\u00e9 and \u0130stanbul, unseenword here",
    "!!!",
    "unseenword otherword",
    "one two three four five six seven eight nine ten eleven twelve",
]


@pytest.fixture(autouse=True)
def _no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast a bundle is takes a second to measure, and more texts find no more here."""
    monkeypatch.setattr(run, "compare_speed", lambda *given: (2.0, 1.0))
    monkeypatch.setattr(run, "odd_texts", partial(odd_texts, count=TEXTS_COMPARED))


def tokenizer(**settings: Any) -> Any:
    from keras.src.legacy.preprocessing.text import Tokenizer

    made = Tokenizer(**{"oov_token": "<OOV>", **settings})
    made.fit_on_texts([text for text in TEXTS if "unseen" not in text])
    return made


class Files:
    """The files that people have along with a model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words = tokenizer()
        self.rows = len(self.words.word_index) + 1
        self.vectorization = L.TextVectorization(output_sequence_length=LENGTH)
        self.vectorization.adapt(TEXTS[:3])
        self.lookup = L.StringLookup()
        self.lookup.adapt(np.array(" ".join(TEXTS[:3]).lower().split()))
        known = self.vectorization.get_vocabulary()
        bare = self.vectorization.get_vocabulary(include_special_tokens=False)
        for name, text in (
            ("tokenizer.json", self.words.to_json()),
            ("no_oov.json", tokenizer(oov_token=None).to_json()),
            ("few.json", tokenizer(num_words=12).to_json()),
            ("characters.json", tokenizer(char_level=True).to_json()),
            ("filters.json", tokenizer(filters='.,"', lower=False).to_json()),
            ("split.json", tokenizer(split="e").to_json()),
            ("words.json", tokenizer(split="  ").to_json()),
            ("index.json", json.dumps(self.words.word_index)),
            ("vectorization.txt", "\n".join(known) + "\n"),
            ("bare.txt", "\n".join(bare) + "\n"),
            ("lookup.txt", "\n".join(self.lookup.get_vocabulary()) + "\n"),
        ):
            (folder / name).write_text(text, "utf-8")
        (folder / "tokenizer.pickle").write_bytes(pickle.dumps({"word_index": 1}))

    def saved(self, model: Any, name: str = "model.keras") -> Path:
        """Save the model with weights so large that any mistake shows."""
        random = np.random.default_rng(3)
        for variable in model.variables:
            if variable.dtype == "float32":
                drawn = random.normal(0, 0.6, variable.shape)
                variable.assign(np.abs(drawn) if "variance" in variable.path else drawn)
        model.save(self.folder / name)
        return self.folder / name

    def chain(self, *layers: Any, rows: int = 0, mask: bool = True, length: int | None = None) -> Path:
        first = L.Embedding(rows or self.rows, 6, mask_zero=mask)
        return self.saved(keras.Sequential([keras.Input((length,)), first, *layers]))


@pytest.fixture(name="files", scope="session")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("elsewhere"))


def softmax(classes: int = 2) -> Any:
    return L.Dense(classes, activation="softmax")


def exported(path: Path, tmp_path: Path, vocabulary: Path | None, **given: Any) -> Export:
    return export(path, tmp_path / "bundle", vocabulary=vocabulary, **{"labels": LABELS, **given})


def way(result: Export) -> str:
    return next(note for note in result.notes if note.startswith("way:")).split()[1].rstrip(":")


OURS: dict[str, Callable[[], list[Any]]] = {
    "two SimpleRNN": lambda: [L.SimpleRNN(4, return_sequences=True), L.SimpleRNN(4), softmax()],
    "bidirectional, mean over time": lambda: [
        L.SpatialDropout1D(0.2),
        L.Bidirectional(L.GRU(3, return_sequences=True, reset_after=False)),
        L.GlobalAveragePooling1D(),
        L.Dropout(0.5),
        L.Dense(2),
        L.Softmax(),
    ],
    "backwards, one sigmoid": lambda: [L.LSTM(4, go_backwards=True), L.Dense(1, activation="sigmoid")],
}


@pytest.mark.parametrize("kind", OURS)
def test_supported_models_run_at_exact_length(kind: str, files: Files, tmp_path: Path) -> None:
    result = exported(files.chain(*OURS[kind]()), tmp_path, files.folder / "tokenizer.json")
    config = result.bundle.config
    assert way(result) == "sentstream's"
    assert config["parity"]["labels_changed"] == 0
    assert config["parity"]["rows"] + config["parity"]["without_answer"] == TEXTS_COMPARED
    # Of a text without words a mean over time is no number.
    assert (config["text"]["wordless"] == "unknown") == ("mean" in kind)
    assert config["text"]["padding"] == "none"
    assert config["text"]["tokenizer"] == "split"
    assert "from the text on" in result.bundle.card


def test_unsupported_models_use_tf2onnx(files: Files, tmp_path: Path) -> None:
    path = files.chain(
        L.BatchNormalization(),
        L.LSTM(4, return_sequences=True),
        L.TimeDistributed(L.Dense(4, activation="relu")),
        L.Bidirectional(L.GRU(4), merge_mode="sum"),
        L.LayerNormalization(),
        L.Dense(4, activation="gelu"),
        L.LeakyReLU(),
        softmax(3),
    )
    words, labels = files.folder / "tokenizer.json", ["a", "b", "c"]
    result = exported(path, tmp_path, words, labels=labels)
    assert way(result) == "tf2onnx"
    assert result.speed == (2.0, 1.0)
    assert result.bundle.config["parity"]["labels_changed"] == 0
    assert result.bundle.config["text"]["padding"] == "none"
    assert "tf2onnx" in result.bundle.card
    graph = onnx.load_model_from_string(result.bundle.model)
    assert all(node.name for node in graph.graph.node)
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(facts["labels"]) == labels
    assert facts["vocabulary_size"] == str(len(result.bundle.text.vocabulary))
    with pytest.raises(UsageError, match="tf2onnx converts this model"):
        exported(path, tmp_path / "int8", words, labels=labels, tables="int8")
    with pytest.raises(ModelFormatError, match="cannot be trained further"):
        open_trained(result.bundle.path)


def test_fine_tuning_a_foreign_model_suggests_an_alternative(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.chain(L.LSTM(4), L.LayerNormalization(), softmax())
    bundle = exported(path, tmp_path, files.folder / "tokenizer.json").bundle.path
    data = tmp_path / "data.csv"
    data.write_text("text,label\nso good,positive\nso bad,negative\n")
    capsys.readouterr()
    for source, way_out in ((bundle, "train the .keras file in Keras"), (path, "take the resulting bundle")):
        code = main(["fine-tune", str(source), str(data), "--output", str(tmp_path / "tuned")])
        out, err = capsys.readouterr()
        assert code in (ModelFormatError.exit_code, UsageError.exit_code)
        assert out == ""
        assert len(err.splitlines()) == 1
        assert way_out in err
    assert not (tmp_path / "tuned").exists()


def two_towers(length: int | None) -> Any:
    tokens = keras.Input((length,), dtype="int32")
    table = L.Embedding(60, 6, mask_zero=length is None)(tokens)
    if length is None:
        both = [L.LSTM(4)(table), L.GRU(4)(table)]
    else:
        steps = L.LSTM(4, return_sequences=True)(table)
        both = [L.GlobalMaxPooling1D()(L.Conv1D(4, size, activation="relu")(table)) for size in (2, 3)]
        both.append(L.GlobalAveragePooling1D()(L.Attention()([steps, steps])))
    return keras.Model(tokens, softmax()(L.concatenate(both)))


@pytest.mark.parametrize("length", [None, LENGTH])
def test_several_branches(length: int | None, files: Files, tmp_path: Path) -> None:
    result = exported(files.saved(two_towers(length)), tmp_path, files.folder / "tokenizer.json")
    assert way(result) == "tf2onnx"
    assert result.bundle.config["text"]["length"] == (length or 0)
    assert result.bundle.config["text"]["padding"] == ("pre" if length else "none")


def test_functional_chain_with_mask_operations(files: Files, tmp_path: Path) -> None:
    tokens = keras.Input((None,), dtype="int32")
    steps = L.SimpleRNN(4, return_sequences=True)(L.Embedding(60, 6, mask_zero=True)(tokens))
    path = files.saved(keras.Model(tokens, softmax()(L.SimpleRNN(4)(steps))))
    assert way(exported(path, tmp_path, files.folder / "tokenizer.json")) == "sentstream's"


class TestPadding:
    @pytest.mark.parametrize(("padding", "truncating"), [("post", "post"), ("pre", "post")])
    def test_tutorial_model_keeps_its_padding(
        self, files: Files, tmp_path: Path, padding: Any, truncating: Any
    ) -> None:
        path = files.chain(*OURS["two SimpleRNN"](), mask=False)
        requested = Padding(LENGTH, padding, truncating)
        result = exported(path, tmp_path, files.folder / "tokenizer.json", padding=requested)
        assert way(result) == "sentstream's"
        assert result.bundle.config["text"]["padding"] == padding
        model = Model.load(result.bundle.path, provider="cpu")
        padded = keras.utils.pad_sequences(
            files.words.texts_to_sequences(TEXTS), LENGTH, padding=padding, truncating=truncating
        )
        expected = keras.saving.load_model(path, compile=False).predict(padded, verbose=0)
        rows = model.score(TEXTS).to_pylist()
        found = [[row[f"sentiment_prob_{label}"] for label in LABELS] for row in rows]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert [row["sentiment"] for row in rows] == [LABELS[index] for index in expected.argmax(axis=1)]

    def test_padding_is_chosen_for_fixed_length(self, files: Files, tmp_path: Path) -> None:
        path = files.chain(*OURS["two SimpleRNN"](), mask=False, length=LENGTH)
        result = exported(path, tmp_path, files.folder / "tokenizer.json")
        assert result.bundle.config["text"]["length"] == LENGTH
        assert "Keras' defaults" in result.notes[1]

    def test_working_mask_keeps_exact_length(self, files: Files, tmp_path: Path) -> None:
        path = files.chain(*OURS["two SimpleRNN"]())
        requested = Padding(LENGTH, "post", "pre")
        result = exported(path, tmp_path, files.folder / "tokenizer.json", padding=requested)
        text = result.bundle.config["text"]
        assert (text["length"], text["truncating"], text["padding"]) == (LENGTH, "pre", "none")

    def test_never_padded(self, files: Files, tmp_path: Path) -> None:
        path = files.chain(*OURS["two SimpleRNN"](), mask=False)
        result = exported(path, tmp_path, files.folder / "tokenizer.json", padding=Padding(0))
        assert result.bundle.config["text"]["wordless"] == "unknown"
        assert result.bundle.config["parity"]["rows"] < 1000  # Keras has nothing to say of no ids

    @pytest.mark.parametrize("side", ["pre", "post"])
    def test_pooling_that_sees_padding(self, files: Files, tmp_path: Path, side: Any) -> None:
        path = files.chain(L.LSTM(4, return_sequences=True), L.GlobalMaxPooling1D(), softmax())
        if side == "pre":
            with pytest.raises(UsageError, match="padding zeros change the output of this model"):
                exported(path, tmp_path, files.folder / "tokenizer.json")
        requested = Padding(LENGTH, side, side)
        result = exported(path, tmp_path, files.folder / "tokenizer.json", padding=requested)
        # At the end the mask repeats the last state, which the maximum has seen.
        assert result.bundle.config["text"]["padding"] == ("pre" if side == "pre" else "none")

    @pytest.mark.parametrize(
        ("requested", "message"),
        [
            (None, "does not mask them"),
            (Padding(None, "post"), "need a length"),
            (Padding(LENGTH + 1), f"takes rows of {LENGTH}"),
        ],
    )
    def test_missing_or_impossible_padding(
        self, files: Files, tmp_path: Path, requested: Padding | None, message: str
    ) -> None:
        fixed = LENGTH if requested is not None and requested.length else None
        path = files.chain(*OURS["two SimpleRNN"](), mask=False, length=fixed)
        with pytest.raises(UsageError, match=message):
            exported(path, tmp_path, files.folder / "tokenizer.json", padding=requested)


class TestVocabularies:
    def test_unknown_words_are_dropped(self, files: Files, tmp_path: Path) -> None:
        path = files.chain(L.SimpleRNN(4), softmax())
        result = exported(path, tmp_path, files.folder / "no_oov.json")
        assert result.bundle.config["text"]["unknown"] == "drop"
        assert result.bundle.config["parity"]["labels_changed"] == 0

    @pytest.mark.parametrize("mask", [True, False])
    def test_lookup_with_unknown_at_0(self, files: Files, tmp_path: Path, mask: bool) -> None:
        rules = TextRules.preset("text-vectorization")
        path = files.chain(L.SimpleRNN(4), softmax(), mask=mask)
        requested = None if mask else Padding(0)
        result = exported(path, tmp_path, files.folder / "lookup.txt", rules=rules, padding=requested)
        known = files.lookup.get_vocabulary()
        assert result.bundle.text.vocabulary.words.to_pylist()[2:] == known[1:]
        # What Keras is given for the words: unknown ones are 0, which a mask hides.
        texts = ["a lovely day", "a zzz day"]
        ids = [[known.index(word) if word in known else 0 for word in text.split()] for text in texts]
        expected = keras.saving.load_model(path, compile=False).predict(np.array(ids), verbose=0)
        rows = Model.load(result.bundle.path, provider="cpu").score(texts).to_pylist()
        np.testing.assert_allclose(
            [row["sentiment_prob_positive"] for row in rows], expected[:, 1], atol=1e-5
        )

    @pytest.mark.parametrize(("functional", "mask"), [(False, False), (True, True)])
    def test_leading_vectorization_is_removed(
        self, files: Files, tmp_path: Path, functional: bool, mask: bool
    ) -> None:
        rows = files.vectorization.vocabulary_size()
        tokens = keras.Input((1,), dtype="string")
        layers = [files.vectorization, L.Embedding(rows, 6, mask_zero=mask), L.LSTM(4), softmax()]
        if functional:
            value = tokens
            for layer in layers:
                value = layer(value)
            model = keras.Model(tokens, value)
        else:
            model = keras.Sequential([tokens, *layers])
        path = files.saved(model)
        result = exported(path, tmp_path, None)
        text = result.bundle.config["text"]
        assert (text["length"], text["truncating"]) == (LENGTH, "post")
        assert text["padding"] == ("none" if mask else "post")
        expected = model.predict(tf.constant(TEXTS)[:, None], verbose=0)
        rows_of = Model.load(result.bundle.path, provider="cpu").score(TEXTS).to_pylist()
        found = [row["sentiment_prob_positive"] for row in rows_of]
        np.testing.assert_allclose(found, expected[:, 1], atol=1e-5)
        with pytest.raises(UsageError, match="contains its vocabulary"):
            exported(path, tmp_path / "more", files.folder / "vectorization.txt")
        with pytest.raises(UsageError, match="already says how texts are split"):
            exported(path, tmp_path / "more", None, rules=TextRules())

    @pytest.mark.parametrize(
        ("name", "rules", "error", "message"),
        [
            ("bare.txt", None, DataError, "not with padding and the unknown word"),
            ("lookup.txt", None, UsageError, "does not say how texts were split"),
            ("index.json", None, UsageError, "does not say how texts were split"),
            ("tokenizer.json", "tweets", UsageError, "already says how texts are split"),
            ("tokenizer.pickle", None, DataError, "is a pickle"),
            ("words.json", None, DataError, "split='  '"),
            ("nothing.json", None, DataError, "cannot be read"),
        ],
    )
    def test_incompatible_vocabularies_are_rejected(
        self, files: Files, tmp_path: Path, name: str, rules: Any, error: type[SentstreamError], message: str
    ) -> None:
        path = files.chain(L.SimpleRNN(4), softmax())
        with pytest.raises(error, match=message) as caught:
            exported(path, tmp_path, files.folder / name, rules=rules and TextRules.preset(rules))
        assert caught.value.hint or name == "nothing.json"

    def test_tokenizer_of_another_model(self, files: Files, tmp_path: Path) -> None:
        path = files.chain(L.SimpleRNN(4), softmax(), rows=20)
        with pytest.raises(DataError, match="gives IDs up to"):
            exported(path, tmp_path, files.folder / "tokenizer.json")

    def test_bare_index_warns_of_assumptions(self, files: Files, tmp_path: Path) -> None:
        path = files.chain(L.SimpleRNN(4), softmax())
        rules = TextRules.preset("keras-tokenizer")
        result = exported(path, tmp_path, files.folder / "index.json", rules=rules)
        assert "lacks num_words" in result.warnings[0]
        assert "lacks num_words" in result.bundle.card


class Doubling(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2


class TestRejected:
    @pytest.mark.parametrize(
        ("last", "message"),
        [
            (lambda: [L.Dense(2)], "does not end in probabilities"),
            (lambda: [], "does not end in probabilities"),
            (lambda: [L.Dense(2, activation="sigmoid")], "does not end in probabilities"),
            (lambda: [L.Dense(1, activation="softmax")], "does not end in probabilities"),
            (lambda: [L.Lambda(lambda x: x * 2.0), softmax()], "Lambda, which is not allowed"),
            (lambda: [Doubling(), softmax()], "Doubling, which is not allowed"),
            (lambda: [softmax(5)], "are not 5 different labels"),
        ],
    )
    def test_unsupported_outputs(
        self, files: Files, tmp_path: Path, last: Callable[[], list[Any]], message: str
    ) -> None:
        path = files.chain(L.LSTM(4), *last())
        with pytest.raises(SentstreamError, match=message):
            exported(path, tmp_path, files.folder / "tokenizer.json")

    def test_other_files(self, files: Files, tmp_path: Path) -> None:
        (tmp_path / "saved").mkdir()
        (tmp_path / "saved" / "saved_model.pb").touch()
        for name, message in (
            ("old.h5", "is HDF5"),
            ("only.weights.h5", "only weights"),
            ("saved", "a SavedModel"),
            ("model.pkl", "not a .keras file"),
        ):
            if name != "saved":
                (tmp_path / name).write_bytes(b"x")
            with pytest.raises(ModelFormatError, match=message) as caught:
                exported(tmp_path / name, tmp_path, files.folder / "tokenizer.json")
            assert "save" in (caught.value.hint or "")

    def test_unbuilt_model(self, files: Files, tmp_path: Path) -> None:
        keras.Sequential([L.Embedding(60, 4), L.LSTM(3), softmax()]).save(tmp_path / "m.keras")
        with pytest.raises(ModelFormatError, match="never built"):
            exported(tmp_path / "m.keras", tmp_path, files.folder / "tokenizer.json")

    def test_mixed_precision(self, files: Files, tmp_path: Path) -> None:
        policy = keras.DTypePolicy("mixed_float16")
        path = files.chain(L.LSTM(4, dtype=policy), softmax())
        with pytest.raises(ModelFormatError, match="mixed_float16"):
            exported(path, tmp_path, files.folder / "tokenizer.json")

    def test_graph_differs_from_keras(
        self, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A vocabulary of as many words in another order: every id is one, and none is right."""
        path = files.chain(L.SimpleRNN(4), softmax())
        from sentstream_train.elsewhere import preprocessing

        original = preprocessing._tokenizer

        def other(settings: Any, index: dict[str, int]) -> Any:
            backwards = {word: len(index) + 2 - number for word, number in index.items() if number > 1}
            return original(settings, {"<OOV>": 1, **backwards})

        monkeypatch.setattr(preprocessing, "_tokenizer", other)
        with pytest.raises(SentstreamError, match=r"of 100 texts differ from Keras .* in the label"):
            exported(path, tmp_path, files.folder / "tokenizer.json")
        assert not (tmp_path / "bundle").exists()
