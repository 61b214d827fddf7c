"""On a real GPU: the same probabilities as on the CPU, every computing node on CUDA, and the options.

``float32``: the order of sums and tanh differ, by 1e-4 at most. Int8: products are integers and identical,
but the last bit of tanh can move a state to the next of its 255 steps. With tanh changed at random by up to
4 units in the last place (CUDA's own is within 2), the probabilities of 4,305 tweets moved by up to 0.009,
1 to 5 % of them by more than 1e-6, all of them by 3e-5 on average. So the limit is 0.02, as in doctor.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import draw_encoded
from cuda_tools import PAIRS, WORDS, float_networks, int8_networks

import sentstream
from sentstream.bundle import Bundle, load_bundle, make_config, save_bundle
from sentstream.cli import main
from sentstream.cuda.driver import driver
from sentstream.cuda.placement import CPU, CUDA
from sentstream.doctor.providers import providers
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.errors import ProviderError
from sentstream.session import Session
from sentstream.text import TextRules, Vocabulary
from sentstream_train.network.arrays import Network
from sentstream_train.network.onnx_graph import OPSET, to_onnx

pytestmark = pytest.mark.cuda

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/tweets.parquet"
FLOAT, INT8 = float_networks(), int8_networks()
SHIPPED = ("sentiment140", "tweets", "tweets-small")
CLOSE, STEP = 1e-4, 0.02
Table = npt.NDArray[np.float32]


def write(path: Path, network: Network) -> Bundle:
    known = np.array([[2 + number, 3 + number] for number in range(PAIRS)], np.int32)
    words = ["<pad>", "<unk>", *(f"w{number}" for number in range(WORDS - 2))]
    vocabulary = Vocabulary(words, None if network.lookup.pairs is None else known)
    labels = tuple(f"label{number}" for number in range(network.classes))
    config = make_config(
        name="drawn", version="1", labels=labels, rules=TextRules(), vocabulary=vocabulary, opset=OPSET
    )
    save_bundle(path, model=to_onnx(network), vocabulary=vocabulary, config=config, card="# x\n")
    return load_bundle(path)


def tweets_of(bundle: Bundle) -> Any:
    """Tweets of all lengths, many of each, and the examples."""
    lengths = [*range(1, 41), 60, 100, 190] * 60
    examples = pq.read_table(EXAMPLE)["text"].cast(pa.string()).chunks
    return bundle.text.encode(
        pa.concat_arrays([*examples, synthetic_tweets(bundle.text.vocabulary, lengths)])
    )


def assert_same_labels(found: Table, expected: Table, band: float) -> None:
    """Except where two labels are equally probable."""
    ordered = np.sort(expected, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > 2 * band
    assert sure.mean() > 0.8
    np.testing.assert_array_equal(found[sure].argmax(axis=1), expected[sure].argmax(axis=1))


def both(bundle: Bundle, encoded: Any, **options: Any) -> tuple[Table, Table]:
    tables = [
        session.probabilities(encoded)
        for session in (Session(bundle, "cuda", **options), Session(bundle, "cpu"))
    ]
    whole = ~np.isnan(tables[1]).any(axis=1)
    assert (np.isnan(tables[0]).any(axis=1) == ~whole).all()
    return tables[0][whole], tables[1][whole]


class TestParity:
    @pytest.mark.parametrize("name", FLOAT)
    def test_float(self, name: str, tmp_path: Path) -> None:
        bundle = write(tmp_path / "bundle", FLOAT[name])
        encoded = draw_encoded(WORDS, None if FLOAT[name].lookup.pairs is None else PAIRS, 3000)
        found, expected = both(bundle, encoded)
        assert np.abs(found - expected).max() < CLOSE
        assert_same_labels(found, expected, CLOSE)

    @pytest.mark.parametrize("name", INT8)
    def test_int8(self, name: str, tmp_path: Path) -> None:
        bundle = write(tmp_path / "bundle", INT8[name])
        encoded = draw_encoded(WORDS, None if INT8[name].lookup.pairs is None else PAIRS, 3000)
        found, expected = both(bundle, encoded)
        assert np.median(np.abs(found - expected)) < 1e-6
        # In a state of 6 units one of them counts for more than in one of 64.
        assert np.abs(found - expected).mean() < 1e-3

    @pytest.mark.parametrize("name", SHIPPED)
    def test_shipped_models(self, name: str) -> None:
        bundle = load_bundle(name)
        found, expected = both(bundle, tweets_of(bundle))
        moved = np.abs(found - expected).max(axis=1)
        assert moved.max() < STEP
        assert moved.mean() < CLOSE
        assert np.median(moved) < 1e-6
        assert_same_labels(found, expected, STEP)

    @pytest.mark.parametrize("name", SHIPPED)
    def test_parity_for_any_run_size(self, name: str) -> None:
        """int8 products are exact, so across runs only the head may differ, in its last bits."""
        bundle = load_bundle(name)
        encoded = tweets_of(bundle)
        expected = Session(bundle, "cuda").probabilities(encoded)
        for max_batch in (2, 100, 1000):
            found = Session(bundle, "cuda", max_batch).probabilities(encoded)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


class TestPlacement:
    @pytest.mark.parametrize("name", [*FLOAT, *INT8])
    def test_every_node_that_computes_is_on_cuda(self, name: str, tmp_path: Path) -> None:
        placement = Session(write(tmp_path / "bundle", {**FLOAT, **INT8}[name]), "cuda").placement
        assert placement is not None
        assert placement.compute_on_cpu == ()
        assert placement.counts[CUDA] > placement.counts.get(CPU, 0)

    @pytest.mark.parametrize("name", SHIPPED)
    def test_every_node_of_shipped_models_is_on_cuda(self, name: str) -> None:
        placement = sentstream.load(name, provider="cuda").placement
        assert placement is not None
        assert placement.compute_on_cpu == ()
        assert "shapes only" in str(placement)


class TestOptions:
    def test_last_device(self) -> None:
        device = driver().devices - 1
        bundle = load_bundle("tweets-small")
        session = Session(bundle, "cuda", device=device)
        assert (session.provider, session.device) == ("cuda", device)
        found, expected = both(bundle, tweets_of(bundle), device=device)
        assert np.abs(found - expected).max() < STEP

    def test_small_memory_limit(self) -> None:
        """Smaller runs, the same results."""
        bundle = load_bundle("tweets")
        tight = Session(bundle, "cuda", gpu_memory=256 << 20, remember=False)
        assert tight._room(10) < Session(bundle, "cuda")._room(10)
        encoded = tweets_of(bundle)
        expected = Session(bundle, "cuda").probabilities(encoded)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(tight.probabilities, [encoded] * 8):
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    def test_missing_device(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        device = driver().devices
        with pytest.raises(ProviderError, match=f"there is no CUDA device {device}"):
            sentstream.load(provider="cuda", device=device)
        model = sentstream.load(device=device)
        assert model.provider == "cpu"
        assert model.fallback is not None
        score = ["score", str(EXAMPLE), "--output", str(tmp_path / "x.parquet")]
        assert main([*score, "--provider", "cuda", "--device", str(device)]) == 40
        assert len(capsys.readouterr().err.splitlines()) == 1


class TestThreads:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_overlapping_runs_agree(self, name: str) -> None:
        """Up to the last bits: cuBLAS may choose another kernel while other streams are busy."""
        bundle = load_bundle(name)
        session = Session(bundle, "cuda", remember=False)
        parts = [tweets_of(bundle)] + [
            bundle.text.encode(synthetic_tweets(bundle.text.vocabulary, [length] * 3000, seed=length))
            for length in range(3, 30)
        ]
        expected = [session.probabilities(part) for part in parts]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                for found, one in zip(pool.map(session.probabilities, parts), expected, strict=True):
                    np.testing.assert_allclose(found, one, rtol=0, atol=1e-6)


class TestCommands:
    def test_score(self, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        tables = {}
        for provider in ("cuda", "auto", "cpu"):
            target = tmp_path / f"{provider}.parquet"
            assert (
                main(["score", str(EXAMPLE), "--output", str(target), "--provider", provider, "--json"]) == 0
            )
            printed = capfd.readouterr()
            assert printed.err == ""
            about = json.loads(printed.out)
            assert about["provider"] == ("cpu" if provider == "cpu" else "cuda")
            assert about["fallback"] is None
            if provider != "cpu":
                assert about["placement"]["compute_on_cpu"] == []
            tables[provider] = pq.read_table(target)
        for column in ("sentiment_score", "sentiment_prob_positive"):
            found, expected = (tables[name][column].drop_null().to_numpy() for name in ("cuda", "cpu"))
            assert np.abs(found - expected).max() < STEP
        assert tables["auto"]["sentiment"].equals(tables["cuda"]["sentiment"])

    def test_doctor(self) -> None:
        (line,) = (finding for finding in providers().findings if finding.about == "CUDA")
        assert line.verdict == "ok"
        assert "shapes only" in line.text
