"""Only complete files get their names; nothing else is left behind or visible earlier."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from sentstream.errors import OutputExistsError, OutputWriteError
from sentstream.storage import draft
from sentstream.storage.whole_file import (
    check_exclusive,
    check_writable,
    make_directory,
    remove_stale,
    whole_file,
)


@pytest.fixture(name="nameless", autouse=True, params=[True, False], ids=["nameless", "named"])
def _nameless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether unnamed files are used, if the system has them; otherwise they are hidden."""
    if not request.param:
        monkeypatch.setattr(draft, "_TMPFILE", 0)
    return bool(request.param)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def fail(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    """Write a bit, then raise."""
    with whole_file(target, overwrite=overwrite) as file:
        file.write(b"half of it")
        raise error


class TestWholeFile:
    def test_name_appears_at_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        with whole_file(tmp_path / "in" / "out", overwrite=False) as file:
            file.write(b"all of it")
            file.flush()
            assert names(tmp_path / "in") == []
        assert names(tmp_path / "in") == ["out"]
        assert names(tmp_path) == ["in"]
        assert (tmp_path / "in" / "out").read_bytes() == b"all of it"

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_no_file_after_an_error(self, tmp_path: Path, error: type[BaseException]) -> None:
        with pytest.raises(error):
            fail(tmp_path / "deep" / "er" / "out", error())
        assert names(tmp_path) == []

    def test_existing_file_stays_after_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"old")
        with pytest.raises(ValueError, match="no"):
            fail(tmp_path / "out", ValueError("no"), overwrite=True)
        assert names(tmp_path) == ["out"]
        assert (tmp_path / "out").read_bytes() == b"old"

    def test_overwriting(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"old")
        with whole_file(tmp_path / "out", overwrite=True) as file:
            file.write(b"new")
        assert names(tmp_path) == ["out"]
        assert (tmp_path / "out").read_bytes() == b"new"

    def test_draft_replacing_a_file_is_not_stale(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has a hidden name for a moment."""
        replace, seen = Path.replace, []

        def meanwhile(path: Path, target: Path) -> Path:
            remove_stale([target])
            seen.append(path.exists())
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", meanwhile)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "out").write_bytes(b"old")
        with whole_file(tmp_path / "in" / "out", overwrite=True) as file:
            file.write(b"new")
        assert seen == [True]
        assert (tmp_path / "in" / "out").read_bytes() == b"new"

    def test_below_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("out", "a/b/out"):
            with whole_file(Path(name), overwrite=False) as file:
                file.write(b"all of it")
            assert (tmp_path / name).read_bytes() == b"all of it"

    def test_file_appearing_meanwhile_is_not_overwritten(self, tmp_path: Path) -> None:
        def write_and_be_late() -> None:
            with whole_file(tmp_path / "out", overwrite=False) as file:
                file.write(b"ours")
                (tmp_path / "out").write_bytes(b"theirs")

        with pytest.raises(OutputExistsError):
            write_and_be_late()
        assert names(tmp_path) == ["out"]
        assert (tmp_path / "out").read_bytes() == b"theirs"

    def test_missing_directories_are_created(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "a" / "b" / "out", overwrite=False) as file:
            file.write(b"x")
        assert names(tmp_path / "a" / "b") == ["out"]

    def test_long_name(self, tmp_path: Path) -> None:
        target = tmp_path / ("ü" * 127)
        with whole_file(target, overwrite=False) as file:
            file.write(b"x")
        assert target.read_bytes() == b"x"

    def test_umask_is_respected(self, tmp_path: Path) -> None:
        old = os.umask(0o027)
        try:
            with whole_file(tmp_path / "out", overwrite=False):
                pass
        finally:
            os.umask(old)
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640

    def test_system_errors_name_the_path(self, tmp_path: Path) -> None:
        with pytest.raises(OutputWriteError, match="out cannot be written: No space left") as caught:
            fail(tmp_path / "out", OSError(28, "No space left on device"))
        assert caught.value.exit_code == 21
        assert names(tmp_path) == []


class TestReaders:
    """Readers of the directory find only complete files, regardless of others in progress."""

    @pytest.fixture(name="folder")
    def _folder(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "set"
        part = folder / "day=1"
        part.mkdir(parents=True)
        pq.write_table(pa.table({"text": ["a", "b"]}), part / "one.parquet")
        with (
            whole_file(part / "two.parquet", overwrite=False) as two,
            whole_file(part / "one.parquet", overwrite=True) as one,
        ):
            for file in (one, two):
                file.write(b"PAR1 and no more than that")
                file.flush()
            yield folder
            for file, text in ((one, "c"), (two, "d")):
                file.seek(0)
                file.truncate()
                pq.write_table(pa.table({"text": [text]}), file)
        assert names(tmp_path) == ["set"]
        assert sorted(pl.scan_parquet(folder).collect()["text"]) == ["c", "d"]

    def test_polars(self, folder: Path) -> None:
        for source in (folder, folder / "day=1", folder / "day=1" / "*", folder / "**" / "*.parquet"):
            assert pl.scan_parquet(source).collect().height == 2

    @pytest.mark.parametrize("within", ["*/*.parquet", "**/*.parquet", "**", "day=1/*"])
    def test_duckdb(self, folder: Path, within: str) -> None:
        with duckdb.connect() as connection:
            count = f"SELECT count(*) FROM read_parquet('{folder}/{within}')"
            assert connection.execute(count).fetchall() == [(2,)]

    def test_pyarrow(self, folder: Path) -> None:
        assert ds.dataset(folder, format="parquet", partitioning="hive").count_rows() == 2
        assert pq.read_table(folder).num_rows == 2


class TestStaleFiles:
    @pytest.fixture(name="left")
    def _left(self, tmp_path: Path, nameless: bool) -> list[str]:
        """Leave two half-written files of a data set, as kill -9 does."""
        for name in ("out", "other"):
            code = (
                "import os, signal, sys; from pathlib import Path\n"
                "from sentstream.storage import draft, whole_file\n"
                f"draft._TMPFILE *= {nameless}\n"
                "with whole_file.whole_file(Path(sys.argv[1]), overwrite=False) as file:\n"
                "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
            )
            run = subprocess.run([sys.executable, "-c", code, tmp_path / "in" / name], check=False)
            assert run.returncode == -9
        assert names(tmp_path / "in") == []
        return [name for name in names(tmp_path) if name != "in"]

    def test_drafts_of_dead_processes_are_removed(
        self, tmp_path: Path, left: list[str], nameless: bool
    ) -> None:
        if nameless and draft._TMPFILE:
            assert left == []
        else:
            assert [name.partition(".tmp")[0][:5] for name in left] == [".othe", ".out."]
        remove_stale([tmp_path / "in" / "out"])
        assert names(tmp_path) == [name for name in left if name.startswith(".other")] + ["in"]

    @pytest.mark.parametrize("nameless", [False], indirect=True)
    def test_drafts_of_live_processes_stay(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        with whole_file(tmp_path / "in" / "out", overwrite=False) as file:
            file.write(b"x")
            remove_stale([tmp_path / "in" / "out"])
            assert len(names(tmp_path)) == 2
        assert names(tmp_path) == ["in"]
        assert names(tmp_path / "in") == ["out"]

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
    def test_draft_next_to_the_target_if_nothing_else_is_writable(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        tmp_path.chmod(0o500)
        try:
            with whole_file(tmp_path / "in" / "out", overwrite=False) as file:
                file.write(b"x")
            with whole_file(tmp_path / "in" / "out", overwrite=True) as file:
                file.write(b"y")
        finally:
            tmp_path.chmod(0o700)
        assert names(tmp_path / "in") == ["out"]
        assert (tmp_path / "in" / "out").read_bytes() == b"y"

    @pytest.mark.skipif(os.name != "posix", reason="no modes")
    @pytest.mark.parametrize("nameless", [False], indirect=True)
    @pytest.mark.parametrize(
        ("outside", "inside", "moves"),
        [(0o755, 0o700, False), (0o777, 0o755, False), (0o1777, 0o755, True), (0o750, 0o755, True)],
    )
    def test_draft_is_not_in_a_more_public_directory(
        self, tmp_path: Path, outside: int, inside: int, moves: bool
    ) -> None:
        (tmp_path / "set" / "in").mkdir(parents=True)
        (tmp_path / "set").chmod(outside)
        (tmp_path / "set" / "in").chmod(inside)
        with whole_file(tmp_path / "set" / "in" / "out", overwrite=False):
            assert (len(names(tmp_path / "set")), len(names(tmp_path / "set" / "in"))) == (
                (2, 0) if moves else (1, 1)
            )
        assert names(tmp_path / "set" / "in") == ["out"]

    def test_other_files_stay(self, tmp_path: Path) -> None:
        kept = [
            ".out.tmp",
            ".out.0123.tmp",
            "out.0123456789abcdef.tmp",
            ".out.0123456789abcdef.tmp.gz",
            "out",
        ]
        for name in kept:
            (tmp_path / name).write_bytes(b"x")
        remove_stale([tmp_path / "out", tmp_path / "missing" / "out"])
        assert names(tmp_path) == sorted(kept)


class TestCheckWritable:
    def test_existing_file(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="already exists"):
            check_writable(tmp_path / "out", overwrite=False)
        check_writable(tmp_path / "out", overwrite=True)

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(OutputExistsError, match="is a directory"):
            check_writable(tmp_path, overwrite=True)

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OutputWriteError, match="is not a directory"):
            check_writable(tmp_path / "file" / "deep" / "out", overwrite=False)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
    def test_not_writable(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OutputWriteError, match="is not writable"):
            check_writable(tmp_path / "out", overwrite=False)


class TestExclusive:
    """At most one of several writers of a name wins, on every file system."""

    @pytest.fixture(name="without_links")
    def _without_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)

    def test_first_writer_wins(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "out", overwrite=False, exclusive=True) as file:
            file.write(b"first")
        with (
            pytest.raises(OutputExistsError),
            whole_file(tmp_path / "out", overwrite=False, exclusive=True) as file,
        ):
            file.write(b"second")
        assert (tmp_path / "out").read_bytes() == b"first"

    @pytest.mark.usefixtures("without_links")
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_without_hard_links_nobody_wins(self, tmp_path: Path, overwrite: bool) -> None:
        with whole_file(tmp_path / "out", overwrite=overwrite) as file:
            file.write(b"all of it")
        assert (tmp_path / "out").read_bytes() == b"all of it"
        with pytest.raises(OSError, match="not permitted"):
            check_exclusive(tmp_path)
        with (
            pytest.raises(OutputWriteError, match="not permitted"),
            whole_file(tmp_path / "other", overwrite=False, exclusive=True),
        ):
            pass
        assert names(tmp_path) == ["out"]

    def test_check_leaves_no_files(self, tmp_path: Path) -> None:
        (tmp_path / ".probe.0123456789abcdef.tmp").write_bytes(b"of one that was killed")
        check_exclusive(tmp_path)
        assert names(tmp_path) == []


def test_directories_are_created_concurrently(tmp_path: Path) -> None:
    for _ in range(2):
        make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        make_directory(tmp_path / "file")
