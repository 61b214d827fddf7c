"""Repeated rows are scored once, and the results do not show it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream import repeats as module
from sentstream.repeats import Repeats

Ids = npt.NDArray[np.int32]
Rows = Mapping[str, Ids]
CLASSES = 3


class Graph:
    """A fake graph: probabilities depend on every id of a row, and the runs are counted."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, inputs: Rows) -> npt.NDArray[np.float32]:
        rows = [tuple(np.concatenate([ids[at] for ids in inputs.values()]).tolist()) for at in places(inputs)]
        self.rows += len(rows)
        # One that wraps around, so that a wrong row shows.
        return np.array([[(hash(row) >> shift) % 1009 for shift in (0, 20, 40)] for row in rows], np.float32)


def places(inputs: Rows) -> range:
    return range(len(inputs["words"]))


def drawn(rows: int, length: int, limit: int, *, seed: int = 0, pairs: bool = True) -> dict[str, Ids]:
    random = np.random.default_rng(seed)
    names = ("words", "pairs") if pairs else ("words",)
    return {name: random.integers(0, limit, (rows, length)).astype(np.int32) for name in names}


def picked(inputs: Rows, at: npt.NDArray[np.intp]) -> dict[str, Ids]:
    return {name: ids[at] for name, ids in inputs.items()}


@settings(max_examples=cases(100), deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 80), st.integers(1, 4), st.integers(0, 3)), max_size=8
    ),
    pairs=st.booleans(),
)
def test_results_match_the_graph(calls: list[tuple[int, int, int, int]], pairs: bool) -> None:
    repeats, graph = Repeats(CLASSES), Graph()
    for length, rows, limit, seed in calls:
        inputs = drawn(rows, length, limit, seed=seed, pairs=pairs)
        np.testing.assert_array_equal(repeats.once(inputs, graph), Graph()(inputs))


@pytest.mark.parametrize("factors", ["zero", "one"])
def test_hash_collisions_are_resolved(factors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FACTORS", np.full(64, factors == "one", np.uint64))
    repeats, graph = Repeats(CLASSES), Graph()
    for seed in range(6):
        inputs = drawn(50, 3, 3, seed=seed)
        np.testing.assert_array_equal(repeats.once(inputs, graph), Graph()(inputs))


def test_same_words_with_different_pairs_differ() -> None:
    repeats, graph = Repeats(CLASSES), Graph()
    words = np.ones((2, 4), np.int32)
    inputs = {"words": words, "pairs": np.stack([words[0], words[0] + 1])}
    result = repeats.once(inputs, graph)
    assert (result[0] != result[1]).any()
    other = {"words": words, "pairs": inputs["pairs"] + 5}
    np.testing.assert_array_equal(repeats.once(other, graph), Graph()(other))


def test_repeated_rows_run_once() -> None:
    repeats, graph = Repeats(CLASSES), Graph()
    few = drawn(10, 7, 10_000)
    many = picked(few, np.random.default_rng(1).integers(0, 10, 500))
    first = repeats.once(many, graph)
    assert graph.rows == 10
    np.testing.assert_array_equal(repeats.once(many, graph), first)
    assert graph.rows == 20  # the second time they are kept
    np.testing.assert_array_equal(repeats.once(many, graph), first)
    repeats.once(picked(few, np.arange(40) % 10), graph)
    assert graph.rows == 20
    repeats.once(few, graph)  # so few that looking does not pay
    assert graph.rows == 30


def test_cache_is_bounded() -> None:
    repeats, graph = Repeats(CLASSES), Graph()
    for length in (1, 2, 50, 64, 65, 1000):
        repeats.once(drawn(3000, length, 30_000), graph)
    sizes = [
        table.keys.nbytes
        + table.whole.nbytes
        + table.found.nbytes
        + sum(ids.nbytes for ids in table.ids.values())
        for table in repeats._tables.values()
    ]
    assert sorted(repeats._tables) == [1, 2, 50, 64]
    assert sizes == [1024 * (length * 2 * 4 + 9 + CLASSES * 4) for length in (1, 2, 50, 64)]
    assert sum(1024 * (length * 2 * 4 + 9 + CLASSES * 4) for length in range(1, 65)) < 18.5e6


def test_lookups_are_rare_without_repeats() -> None:
    repeats, graph = Repeats(CLASSES), Graph()
    looked = []
    for seed in range(40):
        inputs = drawn(2048, 6, 1_000_000, seed=seed)
        looked.append(repeats.is_useful())
        if looked[-1]:
            repeats.once(inputs, graph)
    assert all(looked[:8])
    assert 1 <= sum(looked[16:]) <= 24 // 8 + 1
    assert graph.rows == 2048 * sum(looked)

    again = drawn(256, 6, 1_000_000, seed=99)
    for _ in range(8 * 16_384 // 256 * 2):
        if repeats.is_useful():
            repeats.once(again, graph)
    assert all(repeats.is_useful() for _ in range(20))


def test_threads_agree_with_one_thread() -> None:
    repeats, graph = Repeats(CLASSES), Graph()
    pool = drawn(3000, 5, 50)
    wrong: list[int] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for turn in range(30):
            inputs = picked(pool, random.integers(0, 3000, 200))
            if not np.array_equal(repeats.once(inputs, graph), Graph()(inputs)):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong
