"""Sequences of very many objects: like lists, in a fraction of the memory."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentstream.dataset.formats.api import Piece
from sentstream.dataset.inputs import Found
from sentstream.dataset.jobs import Job
from sentstream.dataset.manifest.records import Entry, Input, Written
from sentstream.packed import Packed
from sentstream.storage.local import LocalFile, LocalStorage


def found(number: int) -> Found:
    place = f"/data/tweets/day={number % 7}/{number:07}.parquet"
    file = LocalFile(place, 800 + number % 9, str(1_790_000_000_000_000_000 + number * 12_345), place)
    return Found(file, LocalStorage(), file.name[13:], f"/data/tweets.scored{file.name[12:]}")


class TestPacked:
    @given(st.integers(0, 1100), st.lists(st.integers(-1200, 1200), max_size=20), st.slices(1100))
    def test_behaves_like_a_list(self, count: int, places: list[int], part: slice) -> None:
        packed, plain = Packed(range(count)), list(range(count))
        assert len(packed) == count
        assert [*packed] == plain
        assert packed[part] == plain[part]
        for index in places:
            if -count <= index < count:
                assert packed[index] == plain[index]
            else:
                with pytest.raises(IndexError):
                    packed[index]

    def test_concurrent_iteration(self) -> None:
        packed = Packed(map(found, range(1000)))
        assert all(
            one == other == packed[-1 - at]
            for at, (one, other) in enumerate(zip(reversed(packed), [*packed][::-1], strict=True))
        )

    def test_few_items_are_not_packed(self) -> None:
        """Standard input cannot be pickled."""
        only = lambda: None  # noqa: E731
        assert Packed([only])[0] is only

    def test_items_of_a_block_keep_shared_objects(self) -> None:
        items = [(one, one.file) for one in map(found, range(256))]
        assert all(one.file is file for one, file in Packed(items))

    def test_files_take_a_few_bytes_each(self) -> None:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            packed = Packed(map(found, range(20_000)))
            each = (tracemalloc.get_traced_memory()[0] - before) / len(packed)
        finally:
            tracemalloc.stop()
        assert each < 60


FILE = found(3).file
KINDS = [
    FILE,
    found(3),
    Piece(FILE, 0, 2, size=7),
    Job(FILE, "a", None, LocalStorage(), "csv", is_stream=True),
    Input("a", 7, "1", "ab"),
    Written("day=1/a", 2, 7, "cd"),
    Entry(
        "done", "a", Input("a", 7, "1", "ab"), rows=2, tally={"rows": 2}, files=(Written("b", 2, 7, "cd"),)
    ),
]


@pytest.mark.parametrize("item", KINDS, ids=lambda item: type(item).__name__)
def test_pickled_by_fields(item: Any) -> None:
    for again in (pickle.loads(pickle.dumps(item)), copy.copy(item), copy.deepcopy(item), replace(item)):
        assert again == item
        assert repr(again) == repr(item)
