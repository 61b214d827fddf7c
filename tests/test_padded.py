"""Bundles with rows padded to one length, as in Keras: every row has it, through every interface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from bundles import WORDS, make_bundle

from sentstream import Model, explain
from sentstream.text import TextRules

TEXTS = ["i love it", None, "!!", "zz", "this is not so good", "", "hate " * 6, "i love it"]
RULES = replace(TextRules.preset("keras-tokenizer"), length=5)


@pytest.fixture(name="model", params=["pre", "post"])
def _model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    rules = replace(RULES, padding=request.param, truncating=request.param)
    return Model.load(make_bundle(tmp_path / "padded", pairs=False, rules=rules), provider="cpu", threads=1)


def by_hand(model: Model, text: str) -> list[float]:
    """The graph on ids that are looked up and padded in plain Python."""
    rules = model.bundle.text.rules
    mapped = text.lower().translate(str.maketrans(dict.fromkeys(rules.separators, " ")))
    ids = [WORDS.index(word) if word in WORDS else 1 for word in mapped.split()]
    zeros = [0] * (5 - len(ids))
    row = [*zeros, *ids[-5:]] if rules.padding == "pre" else [*ids[:5], *zeros]
    session = onnxruntime.InferenceSession(model.bundle.model, providers=["CPUExecutionProvider"])
    (table,) = session.run(None, {"words": np.array([row, row], np.int32)})
    return [float(share) for share in table[0]]


def test_every_row_is_scored_at_its_length(model: Model) -> None:
    rows = model.score(TEXTS).to_pylist()
    for text, row in zip(TEXTS, rows, strict=True):
        found = [row[f"sentiment_prob_{label}"] for label in model.labels]
        if not text:
            assert found == [None, None]
        else:
            assert found == by_hand(model, text)


def test_stream_and_batch_have_the_same_bits(model: Model) -> None:
    texts = TEXTS * 200
    batch = model.score(pa.table({"text": texts}))
    alone = [model.score([text]) for text in TEXTS]
    for name in batch.column_names[1:]:
        assert batch.column(name).to_pylist() == [one.column(name)[0].as_py() for one in alone] * 200


def test_explanation_uses_padded_rows(model: Model) -> None:
    text = "zz not so good day"
    (one,) = explain(model, [text])
    assert [step.token for step in one.steps] == text.split()
    assert [step.known for step in one.steps] == [False, True, True, True, True]
    for count, step in enumerate(one.steps, start=1):
        assert list(step.probabilities) == by_hand(model, " ".join(text.split()[:count]))


def test_dropped_words_are_not_steps(tmp_path: Path) -> None:
    rules = replace(RULES, unknown="drop")
    model = Model.load(make_bundle(tmp_path / "b", pairs=False, rules=rules), provider="cpu", threads=1)
    first, second = explain(model, ["zz not yy", "zz"])
    assert [step.token for step in first.steps] == ["not"]
    assert [(step.token, step.known) for step in second.steps] == [("(no word)", False)]


def test_fixed_length_graph_is_opened_at_its_length(tmp_path: Path) -> None:
    """As one that flattens its steps: any other number of them would be an error."""
    path = make_bundle(tmp_path / "b", pairs=False, rules=replace(RULES, padding="post"))
    bundle = Model.load(path, provider="cpu").bundle
    graph = onnx.load_model_from_string(bundle.model)
    fixed = onnx.helper.make_tensor("five", onnx.TensorProto.INT64, [2], [-1, 5])
    graph.graph.initializer.append(fixed)
    for node in graph.graph.node:
        node.input[:] = ["rows_of_five" if name == "words" else name for name in node.input]
    graph.graph.node.insert(0, onnx.helper.make_node("Reshape", ["words", "five"], ["rows_of_five"]))
    from sentstream.session import Session

    session = Session(replace(bundle, model=graph.SerializeToString()), "cpu")
    rows = bundle.text.encode(pa.array(["i love it", "bad"]))
    assert session.probabilities(rows).shape == (2, 2)
