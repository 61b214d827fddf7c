"""The reference implementation in NumPy: correct for what it supports, and no verdict on the rest."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import make_bundle
from onnx import TensorProto, helper, numpy_helper

from sentstream.bundle import list_models, load_bundle
from sentstream.doctor import models as module
from sentstream.doctor.gemm import gemm_chain
from sentstream.doctor.models import models, parity, reference
from sentstream.doctor.reference import Product, Unknown, evaluate, is_rounded, products, read_graph
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.session import ON_CPU, Session, create, import_runtime
from sentstream.text import Encoded, Vocabulary


def graph_of(*nodes: onnx.NodeProto, constants: dict[str, Any] | None = None) -> bytes:
    """A graph ``x`` → ``y``."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    made = helper.make_graph(
        list(nodes),
        "g",
        values[:1],
        values[1:],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


class TestEvaluate:
    @pytest.mark.parametrize("name", list_models())
    def test_agrees_with_onnx_runtime_on_shipped_models(self, name: str) -> None:
        bundle = load_bundle(name)
        difference = parity(bundle, Session(bundle, "cpu"))
        rounded = is_rounded(read_graph(bundle.model))
        assert rounded == (bundle.config["provenance"]["network"].get("precision") == "int8")
        # Not zero: one computes in double precision.
        assert 0 < difference < (module.ROUNDED_TOLERANCE if rounded else module.TOLERANCE)

    @pytest.mark.parametrize("pairs", [False, True])
    def test_agrees_on_float_tables_with_and_without_pairs(self, tmp_path: Path, pairs: bool) -> None:
        bundle = load_bundle(make_bundle(tmp_path / "tiny", pairs=pairs))
        assert 0 < parity(bundle, Session(bundle, "cpu")) < module.TOLERANCE

    def test_agrees_on_integer_states(self, tmp_path: Path) -> None:
        made = make_bundle(tmp_path / "tiny", precision="int8", activation="hard_tanh")
        bundle = load_bundle(made)
        assert is_rounded(read_graph(bundle.model))
        assert 0 < parity(bundle, Session(bundle, "cpu")) < module.ROUNDED_TOLERANCE

    def test_detects_changed_weights(self, tmp_path: Path) -> None:
        one, other = (load_bundle(make_bundle(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
        assert parity(one, Session(other, "cpu")) > 0.01

    def test_rows_without_tokens_are_nan(self, tmp_path: Path) -> None:
        bundle = load_bundle(make_bundle(tmp_path / "tiny", pairs=False))
        encoded = Encoded(np.array([0, 0, 2, 2]), np.array([2, 3], np.int32), None)
        assert np.isnan(reference(bundle, encoded)).all(axis=1).tolist() == [True, False, True]

    def test_scan_outputs_are_stacked(self) -> None:
        body = helper.make_graph(
            [
                helper.make_node("Add", ["h", "step"], ["sum"]),
                helper.make_node("Identity", ["sum"], ["each"]),
            ],
            "body",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("h", "step")],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("sum", "each")],
        )
        model = graph_of(
            helper.make_node("Scan", ["zero", "x"], ["last", "y"], body=body, num_scan_inputs=1),
            constants={"zero": np.zeros(2, np.float32)},
        )
        steps = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
        (found,) = evaluate(read_graph(model), {"x": steps})
        assert found.tolist() == [[1, 2], [4, 6], [9, 12]]
        (theirs,) = create(import_runtime(), model, ON_CPU).run(None, {"x": steps})
        assert theirs.tolist() == found.tolist()

    @pytest.mark.parametrize(
        ("node", "message"),
        [
            (helper.make_node("Sigmoid", ["x"], ["y"]), "the operator Sigmoid with no attributes"),
            (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), "the operator Gemm with transB"),
            (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64), "a Cast to type 7"),
        ],
    )
    def test_unsupported_operators_are_reported(self, node: onnx.NodeProto, message: str) -> None:
        square = np.eye(2, dtype=np.float32)
        with pytest.raises(Unknown, match=message):
            evaluate(read_graph(graph_of(node, constants={"w": square})), {"x": square})

    @pytest.mark.parametrize(
        ("tensor", "message"),
        [
            (numpy_helper.from_array(np.zeros(2, np.float64), "w"), "'w' of type 11"),
            (helper.make_tensor("w", TensorProto.INT64, [2], [1, 2]), "'w' in an unknown encoding"),
        ],
    )
    def test_unsupported_tensor_types(self, tensor: onnx.TensorProto, message: str) -> None:
        model = onnx.load_from_string(graph_of(helper.make_node("Identity", ["x"], ["y"])))
        model.graph.initializer.append(tensor)
        with pytest.raises(Unknown, match=message):
            read_graph(model.SerializeToString())


class TestProducts:
    @pytest.mark.parametrize("name", list_models())
    def test_products_match_the_network(self, name: str) -> None:
        """Counted from the network's description: the first layer's kernel is folded into the tables."""
        bundle = load_bundle(name)
        *recurrent, pooling, dense = bundle.config["provenance"]["network"]["layers"]
        units = [layer["units"] for layer in recurrent]
        kernels = sum(2 * before * after for before, after in pairwise(units))
        found = products(read_graph(bundle.model))
        each = sum(one.flops for one in found if one.every_token)
        assert each == kernels + sum(2 * count * count for count in units)
        last = [one for one in found if not one.every_token]
        assert last == [Product(units[-1] * len(pooling["parts"]), dense["units"], False)]

    def test_graph_without_products(self) -> None:
        assert products(read_graph(graph_of(helper.make_node("Tanh", ["x"], ["y"])))) == []


class TestGemm:
    def test_file_is_valid_and_computes_the_chain(self) -> None:
        data = gemm_chain(3, 300, 20, 4)
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        assert {name: value.shape for name, value in weights.items()} == {
            "there": (300, 20),
            "back": (20, 300),
        }
        rows = np.random.default_rng(2).normal(size=(3, 300)).astype(np.float32)
        (found,) = create(import_runtime(), data, ON_CPU).run(None, {"rows": rows})
        expected = rows
        for _ in range(2):
            expected = expected @ weights["there"] @ weights["back"]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

    def test_products_match_the_count(self) -> None:
        found = products(read_graph(gemm_chain(8, 12, 10, 6)))
        assert [(one.inner, one.outer) for one in found] == [(12, 10), (10, 12)] * 3
        assert {one.flops for one in found} == {240}


class TestTweets:
    def test_lengths_and_tokens_are_as_requested(self) -> None:
        bundle = load_bundle("tweets-small")
        lengths = [1, 7, 30, 2]
        tweets = synthetic_tweets(bundle.text.vocabulary, lengths)
        assert [len(tweet.split()) for tweet in tweets.to_pylist()] == lengths
        assert bundle.text.encode(tweets).lengths.tolist() == lengths

    def test_same_seed_gives_same_tweets(self) -> None:
        vocabulary = load_bundle("tweets-small").text.vocabulary
        one, same, other = (synthetic_tweets(vocabulary, [9] * 5, seed) for seed in (1, 1, 2))
        assert one.equals(same)
        assert not one.equals(other)

    def test_vocabulary_without_plain_words(self) -> None:
        assert synthetic_tweets(Vocabulary(["<pad>", "<unk>", ":)"]), [2]).to_pylist() == [":) :)"]


class TestModels:
    @pytest.fixture(name="shipped", autouse=True)
    def _shipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("sentstream.bundle.store.MODELS", tmp_path)
        make_bundle(tmp_path / "tweets", name="tweets")
        make_bundle(tmp_path / "another", name="another", seed=1)
        return tmp_path

    def test_valid_models(self) -> None:
        section = models()
        assert [fact["name"] for fact in section.facts] == ["another", "tweets"]
        assert [fact["default"] for fact in section.facts] == [False, True]
        for fact, finding in zip(section.facts, section.findings, strict=True):
            assert fact["sealed"]
            assert 0 < fact["difference"] < module.TOLERANCE
            assert fact["digest"][:19] in finding.text
            assert (finding.verdict, finding.exit_code) == ("ok", 0)

    def test_model_changed_after_sealing(self, shipped: Path) -> None:
        with (shipped / "another" / "model.onnx").open("ab") as file:
            file.write(b"\0")
        section = models()
        broken, sound = section.findings
        assert (broken.about, broken.verdict, broken.exit_code) == ("model another", "problem", 31)
        assert "model.onnx does not match its checksum" in broken.text
        assert not section.facts[0]["sealed"]
        assert sound.verdict == "ok"

    def test_results_off_by_too_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TOLERANCE", 1e-12)
        for finding in models().findings:
            assert (finding.verdict, finding.exit_code) == ("problem", 1)
            assert "more than 1e-12" in finding.text
            assert finding.hint is not None

    def test_unsupported_graph_is_run_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(module.evaluate.__globals__["_ATTRIBUTES"], "Tanh")
        section = models()
        for fact, finding in zip(section.facts, section.findings, strict=True):
            assert fact["difference"] is None
            assert finding.verdict == "ok"
            assert "unsupported: the operator Tanh" in finding.text
            assert "two runs gave the same bits" in finding.text

    def test_no_models(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sentstream.bundle.store.MODELS", tmp_path / "nowhere")
        (finding,) = models().findings
        assert (finding.verdict, finding.exit_code) == ("problem", 30)
