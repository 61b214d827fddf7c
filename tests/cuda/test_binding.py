"""Runs with bound memory give the same bits as plain runs, from any number of threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cuda_tools import feed_of, float_networks, int8_networks

from sentstream.cuda.binding import BoundRuns
from sentstream.session import ON_CPU, create, import_runtime
from sentstream_train.network.onnx_graph import to_onnx

NETWORKS = {
    "float": float_networks()["lstm fb max+mean, folded"],
    "int8": int8_networks()["2 layers max+mean, pairs, int8 tables"],
    "words only": int8_networks()["1 layers last"],
}


def opened(name: str, at_once: int = 2) -> tuple[Any, BoundRuns]:
    runtime = import_runtime()
    session = create(runtime, to_onnx(NETWORKS[name]), ON_CPU)
    run = BoundRuns(runtime, session, "probabilities", 3, device=("cpu", 0), at_once=at_once)
    return session, run


def plain(session: Any, feed: dict[str, npt.NDArray[np.int32]]) -> bytes:
    return bytes(session.run(None, feed)[0].tobytes())


@pytest.mark.parametrize("name", NETWORKS)
class TestBits:
    def test_runs_of_every_size(self, name: str) -> None:
        """Memory is reused: a smaller run must not see the remains of a larger one."""
        session, run = opened(name)
        sizes = [(64, 9), (2, 1), (3, 5), (64, 9), (1, 1), (17, 30), (500, 2), (2, 31)]
        for seed, (rows, length) in enumerate(sizes):
            feed = feed_of(NETWORKS[name], rows, length, seed)
            found = run(feed)
            assert found.shape == (rows, 3)
            assert found.dtype == np.float32
            assert found.tobytes() == plain(session, feed)

    def test_non_contiguous_ids(self, name: str) -> None:
        session, run = opened(name)
        feed = {key: ids[::2, ::3] for key, ids in feed_of(NETWORKS[name], 40, 12).items()}
        assert run(feed).tobytes() == plain(session, {key: ids.copy() for key, ids in feed.items()})

    @pytest.mark.parametrize("at_once", [1, 2, 4])
    def test_many_threads(self, name: str, at_once: int) -> None:
        session, run = opened(name, at_once)
        feeds = [feed_of(NETWORKS[name], 5 + seed % 7, 1 + seed % 11, seed) for seed in range(60)]
        expected = [plain(session, feed) for feed in feeds]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                assert [one.tobytes() for one in pool.map(run, feeds)] == expected


def test_results_are_not_reused() -> None:
    session, run = opened("int8", at_once=1)
    first, second = (feed_of(NETWORKS["int8"], 8, 4, seed) for seed in (1, 2))
    kept = run(first)
    run(second)
    assert kept.tobytes() == plain(session, first)


def test_memory_is_allocated_per_power_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    runtime = import_runtime()
    real = runtime.OrtValue.ortvalue_from_shape_and_type

    def make(shape: list[int], *rest: Any) -> Any:
        made.append(shape[0])
        return real(shape, *rest)

    _, run = opened("words only", at_once=1)
    monkeypatch.setattr(runtime.OrtValue, "ortvalue_from_shape_and_type", staticmethod(make))
    for rows, length in ((8, 8), (16, 4), (5, 7), (33, 1), (64, 1), (65, 1), (2, 1), (2, 64)):
        run(feed_of(NETWORKS["words only"], rows, length))
    assert made == [64, 128, 2]


def test_failed_run_returns_its_binding() -> None:
    session, run = opened("int8", at_once=1)
    feed = feed_of(NETWORKS["int8"], 4, 3)
    with pytest.raises(Exception, match="indices element out of data bounds"):
        run({**feed, "words": np.full((4, 3), 10**6, np.int32)})
    assert run(feed).tobytes() == plain(session, feed)


def test_concurrency_is_limited_by_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = opened("int8", at_once=2)
    lock, largest, now = threading.Lock(), 0, 0
    binding: Any = run._free.queue[0].__class__
    real = binding.run

    def counted(self: Any, feed: Any) -> Any:
        nonlocal largest, now
        with lock:
            now += 1
            largest = max(largest, now)
        found = real(self, feed)
        with lock:
            now -= 1
        return found

    monkeypatch.setattr(binding, "run", counted)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, [feed_of(NETWORKS["int8"], 200, 30)] * 40))
    assert largest == 2
