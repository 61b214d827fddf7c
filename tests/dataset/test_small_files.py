"""Many small files: each is opened once, and changes in the meantime are detected."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from data_sets import entries, run, tree
from opens import counted_opens

from sentstream.dataset import prepare, score_plan, small_files
from sentstream.dataset.formats.api import Format
from sentstream.dataset.manifest import commits as module
from sentstream.dataset.manifest.commits import Commits
from sentstream.dataset.manifest.records import Entry, Input
from sentstream.errors import InputError, OutputWriteError
from sentstream.profile import Profile
from sentstream.scorer import Scorer
from sentstream.storage import sync
from sentstream.storage.held import HeldFiles
from sentstream.storage.local import LocalStorage

COUNT = 12


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def _parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path.with_suffix(".parquet"))


def _csv(path: Path, table: pa.Table) -> None:
    pyarrow.csv.write_csv(table, path.with_suffix(".csv"))


def _jsonl(path: Path, table: pa.Table) -> None:
    lines = [f'{{"text": "{text}"}}\n' for text in table["text"].to_pylist()]
    path.with_suffix(".jsonl").write_text("".join(lines), "utf-8")


def _inputs(folder: Path, write: Callable[[Path, pa.Table], None]) -> Path:
    folder.mkdir()
    for number in range(COUNT):
        texts = [f"so {'good' if row % 3 else 'bad'} {number} {row}" for row in range(50)]
        write(folder / f"{number:02}", pa.table({"text": texts}))
    return folder


@pytest.mark.parametrize("write", [_parquet, _csv, _jsonl])
def test_each_file_is_opened_once(
    tmp_path: Path, bundle: str, write: Callable[[Path, pa.Table], None]
) -> None:
    """To be checked, fingerprinted and read."""
    inputs = _inputs(tmp_path / "in", write)
    with counted_opens(inputs) as opens:
        run(inputs, tmp_path / "out", bundle)
    assert opens == {path.name: 1 for path in inputs.iterdir()}
    assert list(entries(tmp_path / "out").values()) == ["done"] * COUNT


def test_files_not_kept_are_opened_again(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = _inputs(tmp_path / "in", _parquet)
    run(inputs, tmp_path / "kept", bundle)
    monkeypatch.setattr(HeldFiles, "keep", lambda files, file: None)
    with counted_opens(inputs) as opens:
        run(inputs, tmp_path / "out", bundle)
    assert opens == {path.name: 2 for path in inputs.iterdir()}
    assert tree(tmp_path / "out") == tree(tmp_path / "kept")


@pytest.mark.parametrize(
    ("limit", "value"), [("_GROUP_ROWS", 120), ("_GROUP_BYTES", 2000), ("_TOGETHER_BYTES", 3000)]
)
def test_groups_do_not_change_outputs(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    inputs = _inputs(tmp_path / "in", _parquet)
    _csv(inputs / "csv", pa.table({"text": ["so good"] * 300}))
    run(inputs, tmp_path / "one group", bundle)
    monkeypatch.setattr(small_files, limit, value)
    calls: list[int] = []
    together = Scorer.score_together

    def count(scorer: Scorer, batches: Sequence[pa.RecordBatch], profile: Profile | None = None) -> Any:
        calls.append(len(batches))
        return together(scorer, batches, profile)

    monkeypatch.setattr(Scorer, "score_together", count)
    run(inputs, tmp_path / "groups", bundle)
    assert tree(tmp_path / "groups") == tree(tmp_path / "one group")
    assert len(calls) >= 4
    assert sum(calls) >= COUNT + 1
    assert min(calls) >= 1


@pytest.mark.parametrize("change", ["longer", "touched", "gone"])
def test_file_changes_after_inspection(tmp_path: Path, bundle: str, change: str) -> None:
    inputs = _inputs(tmp_path / "in", _parquet)
    path = inputs / "07.parquet"
    with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle) as plan:
        data = path.read_bytes()
        path.unlink()
        if change != "gone":
            path.write_bytes(data + b"more" * (change == "longer"))
        what = {"longer": "grew from", "touched": "changed", "gone": "disappeared"}[change]
        with pytest.raises(InputError, match=rf"07\.parquet {what}"):
            score_plan(plan)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == [
        f"{number:02}.parquet" for number in range(7)
    ]


def test_file_that_changes_can_be_skipped(tmp_path: Path, bundle: str) -> None:
    """Whether it changes before it is read, or after that."""
    inputs = _inputs(tmp_path / "in", _parquet)
    with prepare([str(inputs)], output=f"{tmp_path / 'out'}/", model=bundle, on_error="skip") as plan:
        (inputs / "03.parquet").unlink()
        plan.held.take(plan.files[7].job.source)  # read again
        (inputs / "07.parquet").write_bytes(b"")
        report = score_plan(plan)
    assert [one.job.relative for one in report.skipped] == ["03.parquet", "07.parquet"]
    assert len([*(tmp_path / "out").glob("*.parquet")]) == COUNT - 2
    assert list(entries(tmp_path / "out").values()).count("skipped") == 2


def test_rows_that_cannot_be_written(tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files before it are written."""
    inputs = _inputs(tmp_path / "in", _parquet)
    pq.write_table(pa.table({"text": ["so good"] * 77}), inputs / "05.parquet")
    write = pq.ParquetWriter.write_table

    def refuse(writer: pq.ParquetWriter, table: pa.Table, row_group_size: int) -> None:
        if len(table) == 77:
            raise pa.ArrowInvalid("no such type")
        write(writer, table, row_group_size)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", refuse)
    with pytest.raises(OutputWriteError, match=r"05\.parquet: pyarrow cannot write these rows: no such type"):
        run(inputs, tmp_path / "out", bundle)
    written = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert written == [f"{number:02}.parquet" for number in range(5)]


@pytest.mark.parametrize("format", ["parquet", "arrow", "arrow-stream", "orc", "csv", "jsonl"])
def test_outputs_match_files_scored_alone(tmp_path: Path, bundle: str, format: Format) -> None:
    """Among them files without rows, of one row, with rows that get no label, and of other types."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    some = ["so good", None, "bad", "", "  ", "good good"]
    several: list[list[str | None]] = [some, [], ["good"], ["bad", "good"], [None], ["good"] * 200, some[2:3]]
    for number, texts in enumerate(several):
        table = pa.table({"id": range(len(texts)), "text": pa.array(texts, pa.string())})
        if number % 2:
            table = table.cast(pa.schema({"id": pa.int32(), "text": pa.large_string()}))
        pq.write_table(table, inputs / f"{number}.parquet")
    run(inputs, tmp_path / "together", bundle, output_format=format)
    together = tree(tmp_path / "together")
    outputs = [name for name in together if not name.startswith("_")]
    assert len(outputs) == len(several)
    for name in outputs:
        alone = tmp_path / name.partition(".")[0]
        run(inputs / f"{alone.name}.parquet", alone, bundle, output_format=format)
        assert tree(alone)[name] == together[name]


class TestCommits:
    """Entries of small outputs are written down together; of large ones, at once."""

    @staticmethod
    def entry(rows: int) -> Entry:
        return Entry("done", f"{rows}.parquet", Input("in", 1, "", ""), rows=rows)

    @pytest.mark.parametrize(("rows", "calls"), [(1, 1), (20_000, 3)])
    def test_outputs_are_committed_together(self, rows: int, calls: int) -> None:
        recorded: list[list[Entry]] = []
        with Commits(lambda entries: recorded.append(entries) if entries else None) as commits:
            for _ in range(3):
                commits.add(ExitStack(), self.entry(rows))
                if rows > 1:
                    commits.drain()
        assert (len(recorded), sum(map(len, recorded))) == (calls, 3)

    def test_earlier_outputs_are_committed_before_an_error(self) -> None:
        recorded: list[list[Entry]] = []

        def fail() -> None:
            raise InputError("gone")

        def add() -> None:
            with Commits(recorded.append) as commits:
                stack = ExitStack()
                stack.callback(fail)
                commits.add(ExitStack(), self.entry(1))
                commits.add(ExitStack(), self.entry(2))
                commits.add(stack, self.entry(3))

        with pytest.raises(InputError, match="gone"):
            add()
        assert sorted(entry.rows for entries in recorded for entry in entries) == [1, 2]

    def test_pending_outputs_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_UNDER_WAY_BYTES", 100)
        recorded: list[list[Entry]] = []
        small_may_end, written = Event(), []

        def write(rows: int, wait: bool) -> Entry:
            if wait:
                assert small_may_end.wait(60)
            written.append(rows)
            return self.entry(rows)

        with Commits(recorded.append) as commits:
            commits.write(lambda: write(1, True), 60)
            commits.write(lambda: write(2, True), 40)
            assert not written  # nobody waits for as much as may be there
            commits.write(lambda: write(3, False), 1000)
            assert written == [3]
            small_may_end.set()
        assert sorted(entry.rows for entries in recorded for entry in entries) == [1, 2, 3]

    def test_names_are_durable_before_their_entries(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One sync per directory serves many; each name is there when its directory is synced."""
        synced: list[Path] = []
        durable: set[str] = set()

        def sync_now(directory: str) -> None:
            synced.append(Path(directory))
            durable.update(str(path) for path in Path(directory).iterdir())

        monkeypatch.setattr(sync, "_sync", sync_now)
        folders = [tmp_path / "out" / name for name in "ab"]
        recorded: list[str] = []

        def record(entries: list[Entry]) -> None:
            recorded.extend(entry.output for entry in entries)
            assert durable.issuperset(recorded)
            assert durable.issuperset(map(str, folders)) or not entries  # new directories, too

        def write(name: str) -> Entry:
            with LocalStorage().create(name, overwrite=False) as file:
                file.write(b"x")
            return replace(self.entry(1), output=name)

        with Commits(record) as commits:
            for number in range(400):
                commits.write(partial(write, str(folders[number % 2] / str(number))), 1)
        assert len(recorded) == 400
        assert len(synced) < 40

    def test_directory_cannot_be_synced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(directory: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(sync, "_sync", fail)
        recorded: list[list[Entry]] = []

        def write() -> Entry:
            with LocalStorage().create(str(tmp_path / "a"), overwrite=False):
                pass
            return self.entry(1)

        def run_to_the_end() -> None:
            with Commits(recorded.append) as commits:
                commits.write(write, 1)

        with pytest.raises(OutputWriteError, match=f"{tmp_path} cannot be written: Input/output error"):
            run_to_the_end()
        assert not recorded

    def test_output_cannot_be_written(self) -> None:
        """It is reported with a later one, and the outputs that could be written are recorded."""
        recorded: list[list[Entry]] = []

        def fail() -> Entry:
            raise OutputWriteError("no room")

        def write() -> None:
            with Commits(recorded.append) as commits:
                commits.write(lambda: self.entry(1), 10)
                commits.write(fail, 10)
                commits.write(lambda: self.entry(2), 10)

        with pytest.raises(OutputWriteError, match="no room"):
            write()
        assert 1 in {entry.rows for entries in recorded for entry in entries}
