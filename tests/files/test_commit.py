"""A name is given to whole files only, and nothing else stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentstream.errors import OutputExistsError, OutputWriteError
from sentstream.files.commit import (
    check_exclusive,
    check_writable,
    make_directory,
    remove_stale,
    whole_file,
)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def fail(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    """Write a bit, then raise."""
    with whole_file(target, overwrite=overwrite) as file:
        file.write(b"half of it")
        raise error


class TestWholeFile:
    def test_the_name_appears_at_the_end(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "out", overwrite=False) as file:
            file.write(b"all of it")
            (hidden,) = names(tmp_path)
            assert hidden.startswith(".out.")
        assert names(tmp_path) == ["out"]
        assert (tmp_path / "out").read_bytes() == b"all of it"

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_nothing_stays_after_an_error(self, tmp_path: Path, error: type[BaseException]) -> None:
        with pytest.raises(error):
            fail(tmp_path / "deep" / "er" / "out", error())
        assert names(tmp_path) == []

    def test_what_was_there_stays_after_an_error(self, tmp_path: Path) -> None:
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

    def test_a_file_that_appears_meanwhile_is_not_overwritten(self, tmp_path: Path) -> None:
        def write_and_be_late() -> None:
            with whole_file(tmp_path / "out", overwrite=False) as file:
                file.write(b"ours")
                (tmp_path / "out").write_bytes(b"theirs")

        with pytest.raises(OutputExistsError):
            write_and_be_late()
        assert names(tmp_path) == ["out"]
        assert (tmp_path / "out").read_bytes() == b"theirs"

    def test_missing_directories_are_made(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "a" / "b" / "out", overwrite=False) as file:
            file.write(b"x")
        assert names(tmp_path / "a" / "b") == ["out"]

    def test_a_long_name(self, tmp_path: Path) -> None:
        target = tmp_path / ("ü" * 127)
        with whole_file(target, overwrite=False) as file:
            file.write(b"x")
        assert target.read_bytes() == b"x"

    def test_the_umask_counts(self, tmp_path: Path) -> None:
        old = os.umask(0o027)
        try:
            with whole_file(tmp_path / "out", overwrite=False):
                pass
        finally:
            os.umask(old)
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640

    def test_an_error_of_the_system_says_where(self, tmp_path: Path) -> None:
        with pytest.raises(OutputWriteError, match="out cannot be written: No space left") as caught:
            fail(tmp_path / "out", OSError(28, "No space left on device"))
        assert caught.value.exit_code == 21
        assert names(tmp_path) == []


class TestStaleFiles:
    def leave_one(self, target: Path) -> None:
        """What kill -9 leaves."""
        code = (
            "import os, signal, sys; from pathlib import Path\n"
            "from sentstream.files.commit import whole_file\n"
            "with whole_file(Path(sys.argv[1]), overwrite=False) as file:\n"
            "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
        )
        run = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
        assert run.returncode == -9

    def test_those_of_the_dead_go(self, tmp_path: Path) -> None:
        self.leave_one(tmp_path / "out")
        self.leave_one(tmp_path / "other")
        assert len(names(tmp_path)) == 2
        remove_stale([tmp_path / "out"])
        (left,) = names(tmp_path)
        assert left.startswith(".other.")

    def test_those_of_the_living_stay(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "out", overwrite=False) as file:
            file.write(b"x")
            remove_stale([tmp_path / "out"])
            assert len(names(tmp_path)) == 1
        assert names(tmp_path) == ["out"]

    def test_nothing_else_goes(self, tmp_path: Path) -> None:
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
    def test_there_already(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="is there already"):
            check_writable(tmp_path / "out", overwrite=False)
        check_writable(tmp_path / "out", overwrite=True)

    def test_a_directory(self, tmp_path: Path) -> None:
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


class TestExclusively:
    """One of several writers of a name wins, on every file system, or none."""

    @pytest.fixture(name="without_links")
    def _without_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)

    def test_the_first_one_wins(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "out", overwrite=False, exclusive=True) as file:
            file.write(b"first")
        with (
            pytest.raises(OutputExistsError),
            whole_file(tmp_path / "out", overwrite=False, exclusive=True) as file,
        ):
            file.write(b"second")
        assert (tmp_path / "out").read_bytes() == b"first"

    @pytest.mark.usefixtures("without_links")
    def test_without_links_nobody_does(self, tmp_path: Path) -> None:
        with whole_file(tmp_path / "out", overwrite=False):
            pass
        with pytest.raises(OSError, match="not permitted"):
            check_exclusive(tmp_path)
        with (
            pytest.raises(OutputWriteError, match="not permitted"),
            whole_file(tmp_path / "other", overwrite=False, exclusive=True),
        ):
            pass
        assert names(tmp_path) == ["out"]

    def test_the_check_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / ".probe.0123456789abcdef.tmp").write_bytes(b"of one that was killed")
        check_exclusive(tmp_path)
        assert names(tmp_path) == []


def test_directories_are_made_by_several_at_once(tmp_path: Path) -> None:
    for _ in range(2):
        make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        make_directory(tmp_path / "file")
