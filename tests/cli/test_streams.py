"""Standard streams that are closed, full, slow or in another encoding: a lost message never loses work."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from processes import child

from sentstream.cli import main
from sentstream.cli.terminal.streams import print_data, print_json, print_message
from sentstream.errors import OutputWriteError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SENTSTREAM = [sys.executable, "-m", "sentstream"]
SCORE = "score good.parquet --model tiny --output out.parquet".split()
#: What another encoding than UTF-8 comes from, and which one it is.
ENCODINGS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},  # as where Windows redirects
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}

full_disk = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="this system has no full disk to offer"
)


@pytest.fixture(name="directory")
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model and an input."""
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "tiny")
    pq.write_table(pa.table({"text": ["I love it", None, "bad day"]}), tmp_path / "good.parquet")
    return tmp_path


@pytest.fixture(name="streams")
def _streams() -> Iterator[None]:
    """Restores the standard streams after the test."""
    before = sys.stdin, sys.stdout, sys.stderr
    yield
    sys.stdin, sys.stdout, sys.stderr = before


def shell(redirection: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command under a redirection, as a shell does: ``2>&-`` closes standard error."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("SENTSTREAM_")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "train")])
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *SENTSTREAM, *arguments],
        capture_output=True,
        env={**mine, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "", **more},
        check=False,
    )


def one_error(output: bytes) -> str:
    """The only line of an output, which is an error."""
    line = output.decode()
    assert line.startswith("sentstream: error: "), line
    assert line.count("\n") == 1, line
    return line


class TestClosedStreams:
    @pytest.mark.parametrize(
        ("redirection", "unbuffered"),
        [("2>&-", ""), ("2>&-", "1"), (">&-", ""), (">&- 2>&-", ""), ("<&- >&- 2>&-", ""), ("<&- 2>&-", "1")],
    )
    def test_scoring_without_standard_streams(
        self, directory: Path, redirection: str, unbuffered: str
    ) -> None:
        run = shell(redirection, *SCORE, PYTHONUNBUFFERED=unbuffered)
        assert (run.returncode, run.stdout) == (0, b"")
        assert pq.read_table("out.parquet").num_rows == 3

    def test_without_stderr_the_output_is_only_rows(self, directory: Path) -> None:
        run = shell("2>&-", "score", "good.parquet", "--model", "tiny", "--output", "-")
        assert run.returncode == 0
        pq.write_table(pq.read_table(pa.BufferReader(run.stdout)), "again.parquet")
        assert run.stdout.startswith(b"PAR1")
        assert run.stdout.endswith(b"PAR1")

    def test_messages_never_reach_the_data(self, directory: Path) -> None:
        run = shell("2>&-", "score", "missing.parquet", "--model", "tiny")
        assert (run.returncode, run.stdout) == (10, b"")
        run = shell("<&- 2>&-", "score", "--nope")
        assert (run.returncode, run.stdout) == (2, b"")

    def test_rows_for_a_closed_standard_output(self, directory: Path) -> None:
        run = shell(">&-", "score", "good.parquet", "--model", "tiny", "--output", "-")
        assert run.returncode == 21
        assert "standard output is closed (give --output FILE)" in one_error(run.stderr)

    @pytest.mark.parametrize(
        ("line", "redirection"),
        [("--version", ">&-"), ("--help", "<&- >&-"), ("models show tiny --json", ">&-")],
    )
    def test_data_for_a_closed_standard_output(self, directory: Path, line: str, redirection: str) -> None:
        run = shell(redirection, *line.split())
        assert run.returncode == 21
        assert "standard output is closed" in one_error(run.stderr)

    def test_unprintable_summary_keeps_the_files(self, directory: Path) -> None:
        run = shell(">&-", *SCORE, "--json")
        assert run.returncode == 21
        assert "finished files are kept" in one_error(run.stderr)
        assert pq.read_table("out.parquet").num_rows == 3

    @pytest.mark.parametrize("line", ["score - --model tiny --output -", "explain - --model tiny"])
    def test_closed_stdin_is_not_a_terminal(self, directory: Path, line: str) -> None:
        run = shell("<&-", *line.split())
        assert (run.returncode, run.stdout) == (2, b"")
        assert "standard input is closed" in one_error(run.stderr)

    def test_unreadable_stdin_is_reported_as_such(self, directory: Path) -> None:
        run = shell("0>written", "score", "-", "--model", "tiny", "--output", "out.parquet")
        assert run.returncode == 10
        assert "standard input cannot be read" in one_error(run.stderr)


@full_disk
class TestFullDisk:
    @pytest.mark.parametrize(
        ("line", "unbuffered"),
        [
            ("--version", "1"),
            ("--help", ""),
            ("models show tiny", "1"),
            ("explain hello --model tiny", ""),
            ("explain hello --model tiny --json", "1"),
            ("score good.parquet --model tiny --dry-run", ""),
            ("score good.parquet --model tiny --output -", ""),
        ],
    )
    def test_full_disk_for_data_has_an_exit_code(self, directory: Path, line: str, unbuffered: str) -> None:
        run = shell(">/dev/full", *line.split(), PYTHONUNBUFFERED=unbuffered)
        assert run.returncode == 21
        assert "standard output cannot be written: No space left on device" in one_error(run.stderr)

    def test_written_files_stay(self, directory: Path) -> None:
        run = shell(">/dev/full", *SCORE, "--json")
        assert run.returncode == 21
        one_error(run.stderr)
        assert pq.read_table("out.parquet").num_rows == 3

    def test_full_disk_for_messages_is_not_an_error(self, directory: Path) -> None:
        run = shell("2>/dev/full", *SCORE)
        assert (run.returncode, run.stdout) == (0, b"")
        run = shell("2>/dev/full", "score", "good.parquet", "--model", "tiny", "--output", "-")
        assert run.returncode == 0
        assert pq.read_table(pa.BufferReader(run.stdout)).num_rows == 3


class TestEncodings:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_plan_is_printed(self, directory: Path, encoding: str) -> None:
        run = shell("", *SCORE, "--dry-run", **ENCODINGS[encoding])
        assert run.returncode == 0, run.stderr
        assert b"good.parquet -> " in run.stdout
        assert run.stdout.endswith(b"dry run: nothing was written\n")

    @pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
    def test_json_stays_valid_for_any_name(self, directory: Path, encoding: str) -> None:
        shutil.copy("good.parquet", "café 😀.parquet")
        line = ["score", "café 😀.parquet", "--model", "tiny", "--output", "out.parquet", "--json"]
        run = shell("", *line, **ENCODINGS[encoding])
        assert run.returncode == 0, run.stderr
        assert run.stdout.isascii()
        assert json.loads(run.stdout)["outputs"][0]["input"] == "café 😀.parquet"

    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("form", [[], ["--json"]])
    def test_tweet_is_explained(self, directory: Path, encoding: str, form: list[str]) -> None:
        run = shell("", "explain", "café 😀 →", "--model", "tiny", *form, **ENCODINGS[encoding])
        assert run.returncode == 0, run.stderr
        if form:
            assert json.loads(run.stdout)["tweets"][0]["text"] == "café 😀 →"
        else:
            assert rb"\U0001f600" in run.stdout

    def test_encodable_characters_are_not_escaped(self, directory: Path) -> None:
        run = shell("", "explain", "café", "--model", "tiny", PYTHONIOENCODING="cp1252")
        assert "café" in run.stdout.decode("cp1252")
        run = shell("", "explain", "café", "--model", "tiny", "--json", PYTHONIOENCODING="utf-8")
        assert "café" in run.stdout.decode()

    @pytest.mark.parametrize("encoding", [{}, *ENCODINGS.values()], ids=["utf-8", *ENCODINGS])
    def test_non_utf8_name_is_shown_as_bytes(self, directory: Path, encoding: dict[str, str]) -> None:
        name = os.fsdecode(b"caf\xe9")
        run = shell("", "score", "good.parquet", "--model", name, **encoding)
        assert run.returncode == 30
        assert r"caf\xe9" in one_error(run.stderr)
        run = shell("", "models", "verify", name, "--json", **encoding)
        assert run.returncode == 30
        assert json.loads(run.stdout)[0]["model"] == "caf\udce9"


class TestSlowReader:
    def test_non_blocking_pipe_gets_every_byte(self, directory: Path) -> None:
        """As when the other end is Node.js or a terminal multiplexer."""
        texts = [f"I love {os.urandom(16).hex()}" for _ in range(20_000)]
        pq.write_table(pa.table({"text": texts}), "many.parquet")
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
        with child(
            [*SENTSTREAM, "score", "many.parquet", "--model", "tiny", "--output", "-"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            os.close(writing)
            with os.fdopen(reading, "rb") as pipe:
                received = pipe.read()
            assert process.wait() == 0
        assert len(received) > 1 << 17  # more than the pipe holds
        assert pq.read_table(pa.BufferReader(received))["text"].to_pylist() == texts


def test_signal_message_during_another_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python's buffered streams are not reentrant."""
    reading, writing = os.pipe()

    class Raw(io.FileIO):
        def write(self, data: Any) -> int | None:
            if not words:
                words.append("second")
                print_message("second")
            return super().write(data)

    words: list[str] = []
    with (
        open(reading, encoding="utf-8") as received,
        io.TextIOWrapper(io.BufferedWriter(Raw(writing, "w"))) as ours,
    ):
        monkeypatch.setattr(sys, "stderr", ours)
        print_message("first")
        monkeypatch.undo()
        ours.close()
        assert received.read() == "second\nfirst\n"


@pytest.mark.usefixtures("streams")
class TestOtherProcess:
    """``main`` called in a process without streams, as by ``pythonw``."""

    def test_messages_never_go_to_stdout(self) -> None:
        sys.stdout, sys.stderr = io.StringIO(), None  # type: ignore[assignment]
        print_message("lost")
        assert main(["score"]) == 2
        assert sys.stdout.getvalue() == ""

    def test_data_needs_an_open_stdout(self) -> None:
        sys.stdout = None  # type: ignore[assignment]
        with pytest.raises(OutputWriteError, match="standard output is closed"):
            print_data("42")
        with pytest.raises(OutputWriteError, match="standard output is closed"):
            print_json({"answer": 42})
        assert main(["--version"]) == 21
