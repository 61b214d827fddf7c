"""Many small files: each is opened once, and changes in the meantime are detected."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from data_sets import entries, run, tree
from opens import counted_opens

from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats.api import Format
from sentstream.dataset.manifest import commits as module
from sentstream.dataset.manifest.commits import Commits
from sentstream.dataset.manifest.records import Entry, Input
from sentstream.errors import InputError, OutputWriteError
from sentstream.storage.held import HeldFiles

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
