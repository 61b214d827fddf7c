"""Entries by name: the last one counts, but a skipped one never replaces a finished one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentstream.dataset.manifest import entries as module
from sentstream.dataset.manifest.entries import Entries
from sentstream.dataset.manifest.records import Entry, Input, State, entry_line

INPUT = Input("in/ü\\xff.parquet", 7, "1", "ab")
STATES = st.sampled_from(["done", "skipped"])


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), STATES), max_size=30), st.booleans())
def test_behaves_like_a_dictionary(written: list[tuple[str, State]], clashing: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if clashing:
            patch.setattr(module, "hash", lambda name: ord(name) % 3, raising=False)
        entries, plain = Entries(), dict[str, Entry]()
        for rows, (name, state) in enumerate(written):
            entry = Entry(state, name, INPUT, rows=rows)
            entries.add(entry, entry_line(entry))
            if name not in plain or state == "done" or plain[name].state != "done":
                plain[name] = entry
        assert {**entries} == plain
        assert len(entries) == len(plain)
        for name in "abcdefghi":
            assert entries.get(name) == plain.get(name)
            assert (name in entries) == (name in plain)
            assert entries.line(name) == (entry_line(plain[name]) if name in plain else None)


def test_later_entry_wins() -> None:
    entries = Entries()
    for rows in range(600):
        entry = Entry("done", f"{rows % 300}.parquet", INPUT, rows=rows)
        entries.add(entry, entry_line(entry))
    assert entries["7.parquet"].rows == 307
    entry = Entry("done", "7.parquet", INPUT, rows=1)
    entries.add(entry, entry_line(entry))
    assert entries["7.parquet"] == entry
    assert len(entries) == 300
