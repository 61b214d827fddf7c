"""Token ids -> probabilities: the same bits in any batch, and errors that say why."""

from __future__ import annotations

import builtins
import os
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from bundles import WORDS, draw_encoded, make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sentstream import session as module
from sentstream.bundle import Bundle, load_bundle, make_config, save_bundle
from sentstream.cgroup import cpu_quota
from sentstream.errors import (
    BundleGraphError,
    MissingExtraError,
    ProviderError,
    SentstreamError,
    UsageError,
)
from sentstream.session import Session, usable_cpus
from sentstream.text import Encoded, TextRules, Vocabulary
from sentstream_train.network.arrays import Dense, Direction, Lookup, Network, Pooling, Recurrent
from sentstream_train.network.onnx_graph import OPSET, to_onnx
from sentstream_train.network.quantized import quantize, saturates
from sentstream_train.network.tables import fold, to_int8

WIDTH, UNITS, KNOWN, PAIRS = 96, 96, 5000, 8000


def realistic(activation: str = "tanh") -> Network:
    """Two layers of 96 units over folded int8 tables of width 96, as the model that ships."""
    random = np.random.default_rng(7)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    lookup = Lookup(
        random.normal(0, 0.5, (KNOWN, WIDTH)).astype(np.float32),
        random.normal(0, 0.5, (PAIRS + 1, WIDTH)).astype(np.float32),
    )
    layers = [
        Recurrent(
            "simple",
            UNITS,
            True,
            Direction(drawn(WIDTH, UNITS), drawn(UNITS, UNITS), drawn(UNITS, 1)[:, 0]),
            activation=activation,
        )
        for _ in range(2)
    ]
    head = Dense(drawn(2 * UNITS, 2), np.zeros(2, np.float32), "softmax")
    network = fold(Network(lookup, (*layers, Pooling(("max", "mean")), head)))
    return to_int8(network, one_scale=saturates(network))


def gated() -> Network:
    """A bidirectional GRU under an LSTM: wider gates, both directions, the last state only."""
    random = np.random.default_rng(8)

    def way(inputs: int, units: int, gates: int, *, recurrent_bias: bool = False) -> Direction:
        def drawn(*shape: int) -> npt.NDArray[np.float32]:
            return random.normal(0, 0.3, shape).astype(np.float32)

        return Direction(
            drawn(inputs, gates * units),
            drawn(units, gates * units),
            drawn(gates * units),
            drawn(gates * units) if recurrent_bias else None,
        )

    lookup = Lookup(random.normal(0, 0.5, (len(WORDS), 20)).astype(np.float32))
    layers = (
        Recurrent("gru", 24, True, way(20, 24, 3, recurrent_bias=True), way(20, 24, 3, recurrent_bias=True)),
        Recurrent("lstm", 33, False, way(48, 33, 4)),
        Dense(random.normal(0, 1, (33, 3)).astype(np.float32), np.zeros(3, np.float32), "softmax"),
    )
    return fold(Network(lookup, layers))


def write(path: Path, network: Network, words: list[str], pairs: npt.NDArray[np.int32] | None) -> Bundle:
    vocabulary = Vocabulary(words, pairs)
    labels = tuple(f"label{number}" for number in range(network.classes))
    config = make_config(
        name=path.name, version="1", labels=labels, rules=TextRules(), vocabulary=vocabulary, opset=OPSET
    )
    save_bundle(path, model=to_onnx(network), vocabulary=vocabulary, config=config, card="# x\n")
    return load_bundle(path)


@pytest.fixture(scope="module", name="bundles")
def _bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    words = ["<pad>", "<unk>", *(f"w{number}" for number in range(KNOWN - 2))]
    random = np.random.default_rng(3)
    flat = random.choice(KNOWN * KNOWN, PAIRS, replace=False)
    pairs = np.stack([flat // KNOWN, flat % KNOWN], axis=1).astype(np.int32)
    network, clipped = realistic(), realistic("hard_tanh")
    some = draw_encoded(KNOWN, PAIRS, 100)
    return {
        "tiny": load_bundle(make_bundle(folder / "tiny")),
        "realistic": write(folder / "realistic", network, words, pairs),
        "int8": write(folder / "int8", quantize(network, some), words, pairs),
        "clipped": write(folder / "clipped", quantize(clipped, some), words, pairs),
        "gated": write(folder / "gated", gated(), WORDS, None),
    }


KINDS = ["tiny", "realistic", "int8", "clipped", "gated"]


def encode(bundle: Bundle, rows: list[npt.NDArray[np.int32]], seed: int = 0) -> Encoded:
    """Rows of word ids, with pair ids that depend on the words only."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    words = np.concatenate([*rows, np.zeros(0, np.int32)]).astype(np.int32)
    vocabulary = bundle.text.vocabulary
    pairs = None
    if vocabulary.pairs is not None:
        pairs = ((words.astype(np.int64) * 7919 + seed) % (vocabulary.pair_count + 1)).astype(np.int32)
    return Encoded(offsets, words, pairs)


def draw(bundle: Bundle, lengths: npt.NDArray[Any] | list[int], seed: int = 1) -> list[npt.NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    return [random.integers(1, len(bundle.text.vocabulary), length).astype(np.int32) for length in lengths]


def bits(table: npt.NDArray[np.float32]) -> list[bytes]:
    """Each row's bytes: -0.0 is not 0.0 here, and NaN equals itself."""
    return [row.tobytes() for row in table]


class TestBits:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("length", [1, 2, 7, 19, 33])
    def test_row_alone_and_among_others(self, bundles: dict[str, Bundle], kind: str, length: int) -> None:
        bundle = bundles[kind]
        session = Session(bundle, "cpu", max_batch=1000, remember=False)
        rows = draw(bundle, [length] * 1000)
        alone = [bits(session.probabilities(encode(bundle, [row])))[0] for row in rows[:50]]
        for count in (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 100, 255, 257, 1000):
            together = bits(session.probabilities(encode(bundle, rows[:count])))
            assert together[:50] == alone[:count], count

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_number_of_rows_from_1_to_1000(self, bundles: dict[str, Bundle], kind: str) -> None:
        bundle = bundles[kind]
        session = Session(bundle, "cpu", max_batch=1000, remember=False)
        rows = draw(bundle, [11] * 1000)
        whole = bits(session.probabilities(encode(bundle, rows)))
        for count in range(1, 1001, 1 if kind == "tiny" else 7):
            assert bits(session.probabilities(encode(bundle, rows[:count]))) == whole[:count], count

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("max_batch", [1, 2, 3, 16, 100, 10_000])
    def test_any_batch_size(self, bundles: dict[str, Bundle], kind: str, max_batch: int) -> None:
        bundle = bundles[kind]
        lengths = np.random.default_rng(5).integers(0, 40, 300)
        encoded = encode(bundle, draw(bundle, lengths))
        expected = bits(Session(bundle, "cpu", remember=False).probabilities(encoded))
        assert bits(Session(bundle, "cpu", max_batch, remember=False).probabilities(encoded)) == expected

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from(KINDS),
        lengths=st.lists(st.integers(0, 30), max_size=40),
        seed=st.integers(0, 99),
    )
    def test_any_neighbors(
        self, bundles: dict[str, Bundle], kind: str, lengths: list[int], seed: int
    ) -> None:
        bundle = bundles[kind]
        session = Session(bundle, "cpu", remember=False)
        rows = draw(bundle, lengths, seed)
        together = session.probabilities(encode(bundle, rows))
        assert together.shape == (len(rows), len(bundle.labels))
        for row, result in zip(rows, bits(together), strict=True):
            assert bits(session.probabilities(encode(bundle, [row])))[0] == result
        order = np.random.default_rng(seed).permutation(len(rows))
        turned = session.probabilities(encode(bundle, [rows[index] for index in order]))
        assert bits(turned) == [bits(together)[index] for index in order]

    @pytest.mark.parametrize("kind", KINDS)
    def test_from_several_threads_at_once(self, bundles: dict[str, Bundle], kind: str) -> None:
        bundle = bundles[kind]
        session = Session(bundle, "cpu", remember=False)
        lengths = np.random.default_rng(6).integers(0, 30, 200)
        parts = [encode(bundle, draw(bundle, lengths, seed)) for seed in range(8)]
        expected = [bits(session.probabilities(part)) for part in parts]
        with ThreadPoolExecutor(6) as pool:
            for _ in range(2):
                assert [bits(table) for table in pool.map(session.probabilities, parts)] == expected

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        kind=st.sampled_from(KINDS), picks=st.lists(st.integers(0, 11), max_size=60), seed=st.integers(0, 9)
    )
    def test_repeated_rows(self, bundles: dict[str, Bundle], kind: str, picks: list[int], seed: int) -> None:
        bundle = bundles[kind]
        rows = draw(bundle, [1, 2, 2, 3, 3, 3, 7, 7, 30, 30, 0, 90], seed)
        session, plain = Session(bundle, "cpu"), Session(bundle, "cpu", remember=False)
        for chosen in (picks, picks[::-1]):
            encoded = encode(bundle, [rows[index] for index in chosen])
            assert bits(session.probabilities(encoded)) == bits(plain.probabilities(encoded))

    def test_repeated_rows_run_once(self, bundles: dict[str, Bundle]) -> None:
        bundle = bundles["realistic"]
        session, ran = Session(bundle, "cpu"), list[int]()
        run = session._run
        session._run = lambda feed: (ran.append(len(feed["words"])), run(feed))[1]
        rows = draw(bundle, [5] * 10)
        session.probabilities(encode(bundle, rows * 50))
        assert ran == [10]
        session.probabilities(encode(bundle, rows[:7] * 9))
        session.probabilities(encode(bundle, rows[:9] * 9))
        assert ran == [10, 7, 2]

    def test_in_another_session(self, bundles: dict[str, Bundle]) -> None:
        bundle = bundles["realistic"]
        encoded = encode(bundle, draw(bundle, [3, 4, 5] * 20))
        first, second = (
            Session(bundle, provider, remember=False).probabilities(encoded) for provider in ("cpu", "auto")
        )
        assert bits(first) == bits(second)

    def test_long_rows(self, bundles: dict[str, Bundle]) -> None:
        """More tokens than a run may have: rows run one by one, with the same results as together."""
        bundle = bundles["realistic"]
        session = Session(bundle, "cpu", remember=False)
        rows = draw(bundle, [700, 700, 20_000, 1, 700])
        together = bits(session.probabilities(encode(bundle, rows)))
        assert together == [bits(session.probabilities(encode(bundle, [row])))[0] for row in rows]


class TestResults:
    @pytest.mark.parametrize("kind", KINDS)
    def test_results_are_probabilities(self, bundles: dict[str, Bundle], kind: str) -> None:
        bundle = bundles[kind]
        table = Session(bundle, "cpu").probabilities(encode(bundle, draw(bundle, [1, 5, 9, 30])))
        assert table.dtype == np.float32
        assert ((table >= 0) & (table <= 1)).all()
        np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
        assert len(set(bits(table))) == 4

    def test_rows_without_tokens_are_nan_and_only_those(self, bundles: dict[str, Bundle]) -> None:
        bundle = bundles["tiny"]
        session = Session(bundle, "cpu")
        lengths = [0, 2, 0, 0, 1, 0]
        table = session.probabilities(encode(bundle, draw(bundle, lengths)))
        assert np.isnan(table).all(axis=1).tolist() == [length == 0 for length in lengths]
        assert not np.isnan(table[[1, 4]]).any()
        blank = session.probabilities(encode(bundle, draw(bundle, [0, 0])))
        assert np.isnan(blank).all()

    def test_no_rows(self, bundles: dict[str, Bundle]) -> None:
        bundle = bundles["tiny"]
        assert Session(bundle, "cpu").probabilities(encode(bundle, [])).shape == (0, 2)

    def test_later_offsets_skip_tokens(self, bundles: dict[str, Bundle]) -> None:
        bundle = bundles["tiny"]
        session = Session(bundle, "cpu")
        encoded = encode(bundle, draw(bundle, [3, 4, 5]))
        part = Encoded(encoded.offsets[1:], encoded.words, encoded.pairs)
        assert bits(session.probabilities(part)) == bits(session.probabilities(encoded))[1:]

    def test_each_table_and_direction_matters(self, bundles: dict[str, Bundle]) -> None:
        bundle = bundles["realistic"]
        session = Session(bundle, "cpu")
        encoded = encode(bundle, draw(bundle, [6]))
        assert encoded.pairs is not None
        expected = bits(session.probabilities(encoded))
        assert bits(session.probabilities(replace(encoded, pairs=encoded.pairs[::-1].copy()))) != expected
        assert bits(session.probabilities(replace(encoded, words=encoded.words[::-1].copy()))) != expected


def changed(encoded: Encoded, **parts: Any) -> Encoded:
    return replace(encoded, **parts)


class TestRejected:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda e: changed(e, words=np.array([1, 27], np.int32)), "words ids outside of 0 to 26"),
            (lambda e: changed(e, words=np.array([1, -1], np.int32)), "words ids outside of 0 to 26"),
            (lambda e: changed(e, words=np.array([1, -(2**31)], np.int32)), "words ids outside"),
            (lambda e: changed(e, pairs=np.array([4, 0], np.int32)), "pairs ids outside of 0 to 3"),
            (lambda e: changed(e, pairs=None), "token ids of words; this model takes words and pairs"),
            (lambda e: changed(e, pairs=np.array([0], np.int32)), r"pairs ids are int32\[1\]"),
            (lambda e: changed(e, words=np.array([1, 2], np.int64)), r"words ids are int64\[2\]"),
            (lambda e: changed(e, words=np.array([[1, 2]], np.int32)), "words ids are|row offsets"),
            (lambda e: changed(e, offsets=np.array([0, 3])), "row offsets do not match 2"),
            (lambda e: changed(e, offsets=np.array([-1, 2])), "row offsets"),
            (lambda e: changed(e, offsets=np.array([2, 0])), "row offsets"),
            (lambda e: changed(e, offsets=np.array([0, 2, 1, 2])), "row offsets"),
            (lambda e: changed(e, offsets=np.array([0] * 99 + [3])), "row offsets"),
            (lambda e: changed(e, offsets=np.array([-1] + [2] * 99)), "row offsets"),
            (lambda e: changed(e, offsets=np.array([0] * 99 + [2, 1, 2])), "row offsets"),
        ],
    )
    def test_ids_out_of_range(
        self, bundles: dict[str, Bundle], change: Callable[[Encoded], Encoded], message: str
    ) -> None:
        encoded = Encoded(np.array([0, 2]), np.array([1, 2], np.int32), np.array([0, 3], np.int32))
        session = Session(bundles["tiny"], "cpu")
        session.probabilities(encoded)
        with pytest.raises(UsageError, match=message):
            session.probabilities(change(encoded))

    def test_pairs_out_of_range(self, bundles: dict[str, Bundle]) -> None:
        encoded = Encoded(np.array([0, 1]), np.array([1], np.int32), np.array([0], np.int32))
        with pytest.raises(UsageError, match="token ids of words and pairs; this model takes words"):
            Session(bundles["gated"], "cpu").probabilities(encoded)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("gpu",), "provider is 'gpu'"),
            (("cpu", 0), "max_batch must be a positive integer, not 0"),
            (("cpu", -5), "max_batch must be a positive integer, not -5"),
        ],
    )
    def test_arguments_out_of_range(self, bundles: dict[str, Bundle], arguments: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Session(bundles["tiny"], *arguments)

    def test_missing_cuda(self, bundles: dict[str, Bundle]) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        with pytest.raises(ProviderError, match=r"CUDA cannot run here: .*built without CUDA") as caught:
            Session(bundles["tiny"], "cuda")
        assert caught.value.exit_code == 40
        assert "CPUExecutionProvider" in caught.value.message
        assert caught.value.hint is not None
        assert "--provider cpu" in caught.value.hint
        assert Session(bundles["tiny"], "auto").provider == "cpu"

    def test_no_onnx_runtime(self, bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
        found = builtins.__import__

        def without(name: str, *rest: Any, **options: Any) -> types.ModuleType:
            if name == "onnxruntime":
                raise ImportError("No module named 'onnxruntime'")
            return found(name, *rest, **options)

        monkeypatch.delitem(sys.modules, "onnxruntime")
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(MissingExtraError, match="ONNX Runtime cannot be imported") as caught:
            Session(bundles["tiny"], "cpu")
        assert caught.value.exit_code == 50

    def test_leftover_onnx_runtime_folder(
        self, bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "onnxruntime").mkdir()
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "onnxruntime")
        with pytest.raises(MissingExtraError, match="only partly installed") as caught:
            Session(bundles["tiny"], "cpu")
        monkeypatch.delitem(sys.modules, "onnxruntime")
        assert caught.value.exit_code == 50
        assert caught.value.hint is not None
        assert "pip uninstall onnxruntime onnxruntime-gpu" in caught.value.hint


def graph_of(nodes: list[onnx.NodeProto], constants: dict[str, npt.NDArray[Any]]) -> bytes:
    """A model with the inputs and the output of the tiny bundle and any nodes."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.INT32, ["b", "t"]) for n in ("words", "pairs")],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["b", 2])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    data: bytes = model.SerializeToString()
    return data


FLOATS = np.array([[0.25, 0.75]], np.float32)


class TestBrokenGraphs:
    """Each passes the file checks and is detected when it is opened or run."""

    @pytest.mark.parametrize(
        ("nodes", "constants", "message"),
        [
            ([], {}, "cannot open"),
            ([helper.make_node("Identity", ["nothing"], ["probabilities"])], {}, "cannot open"),
            ([helper.make_node("Cast", ["words"], ["probabilities"], to=1)], {}, "for two rows"),
            ([helper.make_node("Identity", ["p"], ["probabilities"])], {"p": FLOATS}, "for two rows"),
            (
                [helper.make_node("Identity", ["p"], ["probabilities"])],
                {"p": np.repeat(FLOATS * np.float32("nan"), 2, 0)},
                "not probabilities",
            ),
            (
                [helper.make_node("Identity", ["p"], ["probabilities"])],
                {"p": np.repeat(FLOATS * 2, 2, 0)},
                "not probabilities",
            ),
            (
                [helper.make_node("Identity", ["p"], ["probabilities"])],
                {"p": np.array([[1.5, -0.5]] * 2, np.float32)},
                "not probabilities",
            ),
            (
                [
                    helper.make_node("Gather", ["p", "words"], ["rows"]),
                    helper.make_node("ReduceMax", ["rows"], ["probabilities"], axes=[1], keepdims=0),
                ],
                {"p": np.repeat(FLOATS, 5, 0)},
                "largest ids",
            ),
        ],
    )
    def test_broken_graphs_are_detected(
        self,
        bundles: dict[str, Bundle],
        nodes: list[onnx.NodeProto],
        constants: dict[str, npt.NDArray[Any]],
        message: str,
    ) -> None:
        bundle = replace(bundles["tiny"], model=graph_of(nodes, constants))
        with pytest.raises(BundleGraphError, match=message) as caught:
            Session(bundle, "cpu")
        assert "\n" not in str(caught.value)

    def test_constant_graph_is_detected_while_scoring(self, bundles: dict[str, Bundle]) -> None:
        """It always returns two rows, which must not be broadcast over all of them."""
        nodes = [helper.make_node("Identity", ["p"], ["probabilities"])]
        bundle = replace(bundles["tiny"], model=graph_of(nodes, {"p": np.repeat(FLOATS, 2, 0)}))
        session = Session(bundle, "cpu")
        with pytest.raises(SentstreamError, match="does not return probabilities for each row of 4 tokens"):
            session.probabilities(encode(bundle, draw(bundle, [4] * 5)))

    def test_graph_names_are_escaped(self, bundles: dict[str, Bundle]) -> None:
        nodes = [helper.make_node("Identity", ["\x1b]0;owned\x07" * 200], ["probabilities"])]
        with pytest.raises(BundleGraphError) as caught:
            Session(replace(bundles["tiny"], model=graph_of(nodes, {})), "cpu")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400

    def test_ort_format_is_rejected(self, bundles: dict[str, Bundle]) -> None:
        bundle = replace(bundles["tiny"], model=b"\x14\0\0\0ORTM" + b"\0" * 64)
        with pytest.raises(BundleGraphError, match=r"(?i)protobuf"):
            Session(bundle, "cpu")

    def test_nothing_is_printed(self, bundles: dict[str, Bundle], capfd: pytest.CaptureFixture[str]) -> None:
        for provider in ("cpu", "auto", "cuda"):
            try:
                Session(bundles["tiny"], provider)
            except ProviderError:
                continue
        with pytest.raises(BundleGraphError):
            Session(replace(bundles["tiny"], model=graph_of([], {})), "auto")
        assert capfd.readouterr() == ("", "")


class TestCpus:
    def test_usable_cpus_are_within_the_machine(self) -> None:
        assert 1 <= usable_cpus() <= (os.cpu_count() or 1)

    @pytest.mark.parametrize(
        ("quota", "expected"),
        [("max 100000", 8), ("150000 100000", 2), ("100000 100000", 1), ("1000 100000", 1), ("nonsense", 8)],
    )
    def test_container_quota_is_respected(
        self, quota: str, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(module, "cpu_quota", partial(cpu_quota, tmp_path, tmp_path / "none"))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        assert usable_cpus() == expected
        (tmp_path / "cpu.max").unlink()
        assert usable_cpus() == 8


class TestTelemetry:
    @pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
    def test_telemetry_is_off_by_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, found: str
    ) -> None:
        if given is None:
            monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
        else:
            monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
        Session(load_bundle(make_bundle(tmp_path / "bundle")), "cpu")
        assert os.environ["ORT_DISABLE_TELEMETRY"] == found
