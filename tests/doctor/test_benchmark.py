"""The self-benchmark: not how fast it is here, but that its figures mean what they say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sentstream.bundle import list_models, load_bundle
from sentstream.doctor import benchmark as module
from sentstream.doctor.benchmark import benchmark, measure
from sentstream.doctor.reference import products, read_graph
from sentstream.session import RUN_ROWS


@pytest.fixture(name="short", autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLICE", 0.01)
    monkeypatch.setattr(module, "_ROUNDS", 2)


class TestMeasure:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_figures_are_consistent(self, threads: int) -> None:
        found = measure(threads)
        assert found["model"] == "tweets"
        assert found["threads"] == threads
        assert found["tokens_per_tweet"] == 15
        graph = read_graph(load_bundle("tweets").model)
        assert found["flops_per_token"] == sum(one.flops for one in products(graph) if one.every_token)
        rows, inner, outer = found["shape"]
        assert (rows, inner, outer) == (RUN_ROWS, 192, 96)  # both states at once
        gemm, model = found["gemm_flops_per_cpu_second"], found["model_flops_per_cpu_second"]
        assert model > 0
        assert found["fraction"] == model / gemm
        assert found["model_tweets_per_second"] > 0
        assert found["score_tweets_per_second"] > 0

    def test_lines(self) -> None:
        section = benchmark()
        arithmetic, speed = section.findings
        assert (arithmetic.verdict, speed.verdict) == ("ok", "ok")
        assert f"{section.facts['fraction']:.0%} of the" in arithmetic.text
        assert f"{section.facts['score_tweets_per_second']:,.0f} tweets/s" in speed.text

    def test_measures_for_one_second(self) -> None:
        """The module's own value, regardless of what other tests set."""
        text = Path(module.__file__).read_text("utf-8")
        assert "_ROUNDS, _SLICE = 4, 0.08" in text
        assert 0.9 <= 4 * 0.08 * 3 <= 1.1

    def test_missing_default_model_gives_a_note(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert list_models()
        monkeypatch.setattr("sentstream.bundle.store.MODELS", tmp_path)
        section = benchmark()
        assert section.facts is None
        assert section.findings[0].verdict == "note"
        assert section.findings[0].text.startswith("not measured: tweets is neither")


class TestWork:
    def test_runs_at_least_once(self) -> None:
        calls: list[int] = []
        count, cpu, wall = module._work(lambda: calls.append(1), 0)
        assert (count, len(calls)) == (1, 1)
        assert cpu >= 0
        assert wall > 0

    def test_waiting_is_not_cpu_time(self) -> None:
        count, cpu, wall = module._work(lambda: time.sleep(0.05), 0.1)
        assert count >= 1
        assert cpu < wall / 2
