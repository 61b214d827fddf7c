"""``sentstream score`` as users run it: real processes, real signals, really full disks."""

from __future__ import annotations

import inspect
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from effort import cases
from processes import PATIENCE, child, on_terminal

from sentstream.bundle import DEFAULT_MODEL
from sentstream.cli import main
from sentstream.cli.score import score
from sentstream.model import BATCH_ROWS, Model
from sentstream.session import usable_cpus

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "tweets.parquet"
COMMAND = [sys.executable, "-m", "sentstream", "score"]
pytestmark = pytest.mark.slow
#: Rows of a run that takes long enough to be stopped in the middle.
MANY = 400_000


def environment(bundle: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTSTREAM_SCORE")}
    return {**kept, "SENTSTREAM_SCORE_MODEL": str(bundle), "SENTSTREAM_SCORE_PROVIDER": "cpu", **more}


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(name="many", scope="module")
def _many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "many.parquet"
    texts = pa.array([f"i love you {row % 997} so good" for row in range(MANY // 10)])
    pq.write_table(
        pa.table({"text": pa.chunked_array([texts] * 10)}), path, compression="zstd", write_page_checksum=True
    )
    return path


@pytest.fixture(name="run")
def _run(tmp_path: Path, bundle: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    def run(
        *arguments: str | Path,
        stdin: bytes | None = None,
        env: Mapping[str, str] = {},
        before: Callable[[], None] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(bundle, **env),
            input=stdin,
            capture_output=True,
            check=False,
            preexec_fn=before,
        )

    return run


Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(name="call")
def _call(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Like ``run``, but in this process, ten times faster: for arguments, files and messages."""

    def call(*arguments: str | Path, stdin: bytes = b"", env: Mapping[str, str] = {}) -> Any:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(os, "environ", environment(bundle, **env))
            code = main(["score", *map(str, arguments)])
        return subprocess.CompletedProcess(arguments, code, *capfdbinary.readouterr())

    return call


def failed(result: subprocess.CompletedProcess[bytes], code: int) -> str:
    """The one line on stderr of a run that must have failed with this code."""
    message = result.stderr.decode()
    assert result.returncode == code, message
    assert message.startswith("sentstream: error: "), message
    assert message.count("\n") == 1, message
    return message


def test_name_that_is_not_utf_8(tmp_path: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "in").mkdir()
    name = os.fsdecode(b"caf\xe9.parquet")
    try:
        (tmp_path / "in" / name).write_bytes(EXAMPLE.read_bytes())
    except OSError:
        pytest.skip("this file system knows UTF-8 names only")
    (tmp_path / "in" / "notes.txt").touch()
    done = run("in", "--output", "out/", "--json")
    assert done.returncode == 0, done.stderr
    (output,) = json.loads(done.stdout)["outputs"]
    assert os.fsencode(output["input"]) == b"in/caf\xe9.parquet"
    with (tmp_path / "out" / name).open("rb") as file:
        assert pq.read_table(file).num_rows == output["rows"]
    assert b"in: files skipped for lack of a known suffix: notes.txt" in done.stderr


class TestCommonRuns:
    def test_output_next_to_the_input(self, run: Run, tmp_path: Path, bundle: Path) -> None:
        (tmp_path / "tweets.parquet").write_bytes(EXAMPLE.read_bytes())
        result = run("tweets.parquet")
        assert result.returncode == 0, result.stderr
        assert result.stdout == b""
        table, scored = pq.read_table(EXAMPLE), pq.read_table(tmp_path / "tweets.scored.parquet")
        assert scored.select(table.schema.names).equals(table)
        expected = Model.load(bundle, provider="cpu", threads=1).score(table)
        assert scored.equals(expected, check_metadata=True)
        summary = result.stderr.decode()
        assert "rows      305\n" in summary
        assert ", cpu" in summary
        assert "tweets.scored.parquet" in summary
        assert "\x1b" not in summary
        assert sorted(path.name for path in tmp_path.iterdir()) == ["tweets.parquet", "tweets.scored.parquet"]

    def test_json(self, run: Run, tmp_path: Path) -> None:
        result = run(EXAMPLE, "-o", "x.parquet", "--json", "--threads", "3", "--max-chars", "280")
        about = json.loads(result.stdout)
        assert result.stderr == b""
        assert about["rows"] == 305
        assert about["rows_per_second"] > 0
        assert about["threads"] == min(3, usable_cpus())
        assert about["provider"] == "cpu"
        assert about["truncated"] >= 1
        assert about["outputs"] == [
            {"input": str(EXAMPLE), "output": str(tmp_path / "x.parquet"), "rows": 305}
        ]
        assert about["abstain"] is None
        assert set(about["labels"]) == {"negative", "positive"}

    def test_abstaining(self, call: Run, tmp_path: Path, bundle: Path) -> None:
        result = call(EXAMPLE, "-o", "x.parquet", "--abstain", "0.9", "--json")
        about, scored = json.loads(result.stdout), pq.read_table(tmp_path / "x.parquet")
        expected = Model.load(bundle, provider="cpu", threads=1).score(pq.read_table(EXAMPLE), abstain=0.9)
        assert scored.equals(expected, check_metadata=True)
        labels = scored["sentiment"].to_pylist()
        assert about["labels"] == {name: labels.count(name) for name in ("negative", "positive", "uncertain")}
        assert 0 < about["labels"]["uncertain"] < 305
        assert scored.schema.metadata[b"sentstream.abstain"] == b"0.9"
        summary = call(EXAMPLE, "-o", "x.parquet", "--abstain", "0.9", "--overwrite").stderr.decode()
        assert f", uncertain {about['labels']['uncertain']} (" in summary

    def test_directories_and_globs(self, call: Run, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / "in").mkdir(exist_ok=True)
            (tmp_path / "in" / f"{name}.parquet").write_bytes(EXAMPLE.read_bytes())
        assert call("in").returncode == 0
        assert call("in/*.parquet", "-o", "new/", "--columns", "id,text", "--prefix", "mood").returncode == 0
        for folder in ("in.scored", "new"):
            names = sorted(path.name for path in (tmp_path / folder).iterdir())
            assert names == ["_sentstream", "a.parquet", "b.parquet"]
        names = pq.read_schema(tmp_path / "new" / "b.parquet").names
        assert names == ["id", "text", "mood", "mood_score", "mood_prob_negative", "mood_prob_positive"]

    def test_standard_input(self, run: Run, tmp_path: Path) -> None:
        result = run("-", "--columns", "id", stdin=EXAMPLE.read_bytes())
        assert result.returncode == 0, result.stderr
        assert pq.read_table(io.BytesIO(result.stdout)).num_rows == 305
        assert list(tmp_path.iterdir()) == []
        result = run("-", "--output", "x.parquet", stdin=EXAMPLE.read_bytes())
        assert result.stdout == b""
        assert pq.read_table(tmp_path / "x.parquet").num_rows == 305
        assert pq.read_table(io.BytesIO(run(EXAMPLE, "--output", "-").stdout)).num_rows == 305

    def test_dry_run_writes_nothing(self, call: Run, tmp_path: Path) -> None:
        result = call(EXAMPLE, "--output", "deep/x.parquet", "--dry-run", "--columns", "id")
        printed = result.stdout.decode()
        assert f"{tmp_path}/deep/x.parquet: 305 rows" in printed
        assert "sentiment_prob_positive  float" in printed
        assert "int64 not null" in printed
        assert "nothing was written" in printed
        about = json.loads(call(EXAMPLE, "--output", "x.parquet", "--dry-run", "--json").stdout)
        assert about["dry_run"] is True
        assert about["outputs"][0]["schema"]["sentiment"] == "string"
        assert list(tmp_path.iterdir()) == []
        assert call(EXAMPLE, "--dry-run", "--text-column", "txt").returncode == 12


class TestOptions:
    def test_every_option_has_an_environment_variable(self, call: Run, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"old")
        (tmp_path / "list").write_text(f"# what there is\n\n{EXAMPLE}\n")
        values = {
            "FILES_FROM": "list",
            "WHERE": "id > 0",
            "TEXT_COLUMN": "text",
            "MAX_CHARS": "10",
            "BATCH_ROWS": "7",
            "THREADS": "2",
            "OUTPUT": "x.parquet",
            "COLUMNS": "id",
            "PREFIX": "mood",
            "ABSTAIN": "0.75",
            "FORMAT": "parquet",
            "OUTPUT_FORMAT": "parquet",
            "RESUME": "0",
            "ON_ERROR": "fail",
            "SAME_SCHEMA": "1",
            "ROW_GROUP_ROWS": "100",
            "COMPRESSION": "gzip:3",
            "OVERWRITE": "1",
            "JSON": "1",
            "DRY_RUN": "0",
            "PROFILE": "0",
        }
        options = {name.upper() for name in inspect.signature(score).parameters} - {"INPUTS"}
        others = {"MODEL", "PROVIDER", "DEVICE", "GPU_MEMORY", "SHARD", "STORAGE_OPTION"}
        others |= {"PARTITION_BY", "TABLE", "SNAPSHOT", "ON", "WORKERS", "GPUS_PER_WORKER", "VALUE"}
        assert options == {*values, *others}
        result = call(env={f"SENTSTREAM_SCORE_{name}": value for name, value in values.items()})
        about = json.loads(result.stdout)
        assert about["threads"] == 2
        assert about["truncated"] > 100
        assert about["abstain"] == 0.75
        metadata = pq.read_metadata(tmp_path / "x.parquet")
        assert metadata.schema.to_arrow_schema().names[:2] == ["id", "mood"]
        assert metadata.row_group(0).num_rows == 100
        assert metadata.row_group(0).column(0).compression == "GZIP"
        assert failed(call(EXAMPLE, env={"SENTSTREAM_SCORE_THREADS": "0"}), 2)

    def test_help_lists_every_option(self, run: Run) -> None:
        shown = run("--help", env={"COLUMNS": "100", "TERM": "dumb"}).stdout.decode()
        for option in inspect.signature(score).parameters:
            if option != "inputs":
                assert f"--{option.replace('_', '-')}" in shown
        for words in (
            "null label",
            "are truncated",
            "SENTSTREAM_SCORE_TEXT_COLUMN",
            "Examples",
            "Input ─",
            "auto|cpu|cuda",
        ):
            assert words in shown
        assert str(BATCH_ROWS) in shown

    def test_default_model_matches_the_library(self) -> None:
        assert inspect.signature(score).parameters["model"].default == DEFAULT_MODEL

    def test_several_text_columns(self, call: Run, tmp_path: Path) -> None:
        table = pa.table({"my title": ["i love you", None], "data": [{"text": "so bad"}, {"text": "good"}]})
        pq.write_table(table, tmp_path / "x.parquet")
        options = ["--text-column", "my title", "--text-column", "data.text"]
        about = json.loads(call("x.parquet", *options, "--json").stdout)
        assert list(about["columns"]) == ["my title_sentiment", "data_text_sentiment"]
        assert about["columns"]["my title_sentiment"]["unlabeled"] == about["unlabeled"] == 1
        names = pq.read_schema(tmp_path / "x.scored.parquet").names
        assert names[2] == "my title_sentiment"
        assert {"data_text_sentiment", "data_text_sentiment_score"} < set(names)
        env = {"SENTSTREAM_SCORE_TEXT_COLUMN": "my title,data.text", "SENTSTREAM_SCORE_PREFIX": "a,b"}
        shown = call("x.parquet", "--overwrite", env=env).stderr.decode()
        assert "\na " in shown
        assert pq.read_schema(tmp_path / "x.scored.parquet").names[2:4] == ["a", "a_score"]
        for wrong in (
            ["--prefix", "a"],
            ["--prefix", "a", "--prefix", "a"],
            ["--prefix", "a", "--prefix", "a_score"],
        ):
            assert failed(call("x.parquet", "--overwrite", *options, *wrong), 2)

    def test_where(self, call: Run, tmp_path: Path) -> None:
        for lang in ("en", "de"):
            path = tmp_path / "in" / f"lang={lang}" / "a.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(pa.table({"id": [1, 2, 3], "text": ["i love you", "so bad", None]}), path)
        about = json.loads(call("in", "--where", 'lang = "en" and id < 3', "--json").stdout)
        assert (about["rows"], about["left_out"], about["where"]) == (2, 1, 'lang = "en" and id < 3')
        assert [one["output"].rpartition("/in")[2] for one in about["outputs"]] == [
            ".scored/lang=en/a.parquet"
        ]
        assert "left out" in call("in", "--where", "lang = 'de' and id = 1", "-o", "out").stderr.decode()
        for where, code in (
            ("lang = 'fr'", 10),
            ("lnag = 'en'", 12),
            ("id = 'x'", 13),
            ("id +", 2),
            ("id + 1 = 2", 2),
        ):
            assert failed(call("in", "--where", where, "-o", "never"), code)
        assert not (tmp_path / "never").exists()

    def test_inputs_from_a_file_list(self, run: Run, call: Run, tmp_path: Path) -> None:
        for place in ("lang=en/a", "lang=de/b"):
            path = tmp_path / f"{place}.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(pa.table({"text": ["i love you"]}), path)
        names = b"\xef\xbb\xbflang=en/a.parquet\r\n# no\n\nlang=de\n"
        about = json.loads(run("--files-from", "-", "-o", "out", "--json", stdin=names).stdout)
        outputs = [one["output"].rpartition("/out/")[2] for one in about["outputs"]]
        assert outputs == ["lang=en/a.parquet", "lang=de/b.parquet"]
        (tmp_path / "list").write_bytes(b"lang=en/a.parquet\nlang=de/b.parquet\n")
        about = json.loads(call("--files-from", "list", "-o", "both", "--json").stdout)
        outputs = [one["output"].rpartition("/both/")[2] for one in about["outputs"]]
        assert outputs == ["lang=en/a.parquet", "lang=de/b.parquet"]
        (tmp_path / "empty").write_bytes(b"# nothing\n")
        assert failed(call("--files-from", "empty"), 10)
        assert failed(call("--files-from", "none"), 10)
        assert failed(call("--files-from", "lang=en/a.parquet"), 10)
        assert failed(call(), 2)

    def test_columns_with_commas(self, call: Run, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a,b": [1], "text": ["hi"], "c": [2]}), tmp_path / "x.parquet")
        assert call("x.parquet", "--columns", 'c, "a,b"').returncode == 0
        assert pq.read_schema(tmp_path / "x.scored.parquet").names[:2] == ["c", "a,b"]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["nope.parquet"], 10, "nope.parquet does not exist"),
            (["nope/*.parquet"], 10, "no file matches"),
            (["junk.parquet"], 11, "junk.parquet is text, not Parquet"),
            ([str(EXAMPLE), "-o", "x", "--text-column", "texts"], 12, "did you mean 'text'"),
            ([str(EXAMPLE), "-o", "x", "--text-column", "id"], 13, "int64, not text"),
            ([str(EXAMPLE), "-o", "x", "--prefix", "junk", "--columns", "nope"], 12, "no column 'nope'"),
            (["junk.parquet", "-o", "there"], 20, "there already"),
            (["junk.parquet", "-o", "junk.parquet", "--overwrite"], 20, "is an input"),
            ([str(EXAMPLE), "-o", "junk.parquet/x"], 21, "not a directory"),
            ([str(EXAMPLE), "-o", "x", "--model", "nowhere"], 30, "nowhere"),
            ([str(EXAMPLE), "-o", "-", "--json"], 2, "standard output"),
            (["-", "--json"], 2, "standard output"),
            (["nope.parquet", "--abstain", "0"], 2, "abstain must be above 0 and at most 1, not 0.0"),
            (["nope.parquet", "--abstain", "1.5"], 2, "abstain must be above 0 and at most 1, not 1.5"),
            (["nope.parquet", "--abstain", "nan"], 2, "abstain must be above 0 and at most 1, not nan"),
            ([str(EXAMPLE), "-o", "x", "--columns", ","], 2, "--columns"),
            ([str(EXAMPLE), "-o", "/dev/full"], 21, "No space left"),
        ],
    )
    def test_exit_codes(self, call: Run, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
        (tmp_path / "junk.parquet").write_bytes(b"not Parquet at all")
        (tmp_path / "there").write_bytes(b"")
        result = call(*arguments, stdin=EXAMPLE.read_bytes())
        assert words in failed(result, code)
        assert result.stdout == b""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["junk.parquet", "there"]

    def test_column_clash(self, call: Run, tmp_path: Path) -> None:
        pq.write_table(pa.table({"text": ["hi"], "sentiment_score": [1]}), tmp_path / "x.parquet")
        assert "already has a column 'sentiment_score' (choose another --prefix)" in failed(
            call("x.parquet"), 14
        )

    def test_disk_full(self, run: Run, many: Path, tmp_path: Path) -> None:
        limit = 50_000
        result = run(
            many,
            "-o",
            "deep/x.parquet",
            before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert "x.parquet cannot be written: File too large" in failed(result, 21)
        assert list(tmp_path.iterdir()) == []

    def test_partial_output_is_not_parquet(self, run: Run, many: Path, tmp_path: Path) -> None:
        data = bytearray(many.read_bytes())
        column = pq.read_metadata(many).row_group(0).column(0)
        data[column.dictionary_page_offset + column.total_compressed_size - 9] ^= 0xFF  # in the last page
        (tmp_path / "in.parquet").write_bytes(data)
        result = run("in.parquet", "-o", "-")
        assert "in.parquet, row group 0" in failed(result, 11)
        assert result.stdout.startswith(b"PAR1")
        with pytest.raises(pa.ArrowInvalid):
            pq.read_table(io.BytesIO(result.stdout))

    def test_broken_pipe(self, many: Path, bundle: Path) -> None:
        with child(
            [*COMMAND, str(many), "-o", "-"],
            env=environment(bundle),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(4) == b"PAR1"
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(PATIENCE) == 0


def start(
    arguments: Sequence[str | Path], bundle: Path, folder: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return child(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(bundle),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def draft_sizes(pid: int, folder: Path) -> Iterator[int]:
    """Bytes of the files below a folder, or hidden above it, that a process writes."""
    for path in (*folder.glob(".*"), *folder.parent.glob(".*")):
        with suppress(OSError):
            yield path.stat().st_size
    with suppress(OSError):  # where there is no /proc
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.readlink(link).startswith(f"{folder}{os.sep}#"):
                    yield link.stat().st_size


def wait_until_written(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until a row group is in the file that has no name yet, or a hidden one: in the middle of scoring."""
    while process.poll() is None:
        if any(size > 1000 for size in draft_sizes(process.pid, folder)):
            return
        time.sleep(0.005)
    raise AssertionError(f"ended before anything was written: {process.communicate()}")


class TestSignals:
    @pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    @pytest.mark.parametrize("threads", ["1", "2"])
    def test_interrupted_while_scoring(
        self, tmp_path: Path, bundle: Path, many: Path, sent: signal.Signals, code: int, threads: str
    ) -> None:
        with start([many, "-o", "out.parquet", "--threads", threads], bundle, tmp_path) as process:
            wait_until_written(process, tmp_path)
            process.send_signal(sent)
            _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, stderr
        assert stderr.decode().strip() == "sentstream: error: interrupted"
        assert list(tmp_path.iterdir()) == []

    def test_killed_repeatedly(self, tmp_path: Path, bundle: Path, many: Path) -> None:
        (tmp_path / "out.parquet").write_bytes(EXAMPLE.read_bytes())
        arguments = [many, "-o", "out.parquet", "--overwrite", "--batch-rows", "8192"]
        for _ in range(cases(3)):
            with start(arguments, bundle, tmp_path) as process:
                wait_until_written(process, tmp_path)
                process.kill()
            assert pq.read_table(tmp_path / "out.parquet").num_rows == 305
            hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
            assert len(hidden) <= 1  # none where drafts have no name; else each run removes the last one's
        with start(arguments, bundle, tmp_path) as process:
            assert process.wait(PATIENCE) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
        assert pq.read_table(tmp_path / "out.parquet").num_rows == MANY


def in_terminal(arguments: Sequence[str | Path], bundle: Path, **streams: Any) -> tuple[int, str]:
    """Run on a pseudo-terminal and return what it shows."""
    terminal = environment(bundle, TERM="xterm", COLUMNS="120", CI="")
    return on_terminal([*COMMAND, *map(str, arguments)], env=terminal, **streams)


class TestTerminal:
    def test_progress_bar(self, tmp_path: Path, bundle: Path, many: Path) -> None:
        code, shown = in_terminal(
            [many, "-o", tmp_path / "x.parquet", "--batch-rows", "8192"], bundle, stdout=subprocess.DEVNULL
        )
        assert code == 0
        assert f"/{MANY:,} rows" in shown
        assert f"rows      {MANY:,}" in shown

    def test_parquet_is_not_written_to_a_terminal(self, bundle: Path) -> None:
        code, shown = in_terminal([EXAMPLE, "-o", "-"], bundle)
        assert code == 2
        assert "scored rows are not written to a terminal" in shown
        assert "PAR1" not in shown

    def test_parquet_is_not_read_from_a_terminal(self, tmp_path: Path, bundle: Path) -> None:
        code, shown = in_terminal(["-", "-o", tmp_path / "x.parquet"], bundle, stdout=subprocess.DEVNULL)
        assert code == 2
        assert "standard input is a terminal" in shown


#: Runs a command and prints its peak memory in KiB after its output. A small process in between, because
#: Linux counts the memory of the one that starts a process as that process' own.
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(arguments: Sequence[str | Path], bundle: Path) -> tuple[dict[str, Any], float]:
    """The summary of a run and its peak memory in MiB."""
    command = [sys.executable, "-c", _MEASURE, *COMMAND, *map(str, arguments), "--json"]
    done = subprocess.run(command, env=environment(bundle), stdout=subprocess.PIPE, check=True)
    printed, peak = done.stdout.splitlines()
    about: dict[str, Any] = json.loads(printed)
    return about, int(peak) / (1024 if sys.platform == "linux" else 1024**2)


@pytest.mark.slow
def test_large_row_group_in_bounded_memory(tmp_path: Path, bundle: Path) -> None:
    texts = pa.array(
        [f"i love you {row} and this day is so long and so good that nobody says no" for row in range(50_000)]
    )
    peaks = []
    for times in (4, 40):
        table = pa.table({"text": pa.chunked_array([texts] * times)})
        pq.write_table(table, tmp_path / "in.parquet", row_group_size=len(table), use_dictionary=False)
        assert pq.read_metadata(tmp_path / "in.parquet").num_row_groups == 1
        about, peak = peak_memory([tmp_path / "in.parquet", "--overwrite"], bundle)
        assert about["rows"] == len(table)
        peaks.append(peak)
    assert max(peaks) < 600
    assert peaks[1] < peaks[0] + 100


def test_real_tweets(run: Run, tmp_path: Path) -> None:
    data = Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared" / "data"))
    source = data / "sentiment140" / "test.parquet"
    if not source.exists():
        assert os.environ.get("CI") != "true", f"no {source}"
        pytest.skip("no real tweets here")
    result = run(source, "-o", "x.parquet", "--json")
    assert result.returncode == 0, result.stderr
    table, scored = pq.read_table(source), pq.read_table(tmp_path / "x.parquet")
    assert scored.select(table.schema.names).equals(table)
    assert json.loads(result.stdout)["rows"] == len(table) == 498
