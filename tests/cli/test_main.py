"""The command line as a whole: exit codes, one-line errors, signals, pipes."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from processes import PATIENCE, child

import sentstream
from sentstream import errors
from sentstream.cli import main
from sentstream.cli.version import version_lines
from sentstream.errors import SentstreamError, how_to_install

ROOT = Path(__file__).resolve().parents[2]
SENTSTREAM = [sys.executable, "-m", "sentstream"]


@pytest.fixture(autouse=True, name="restored")
def _restored() -> Iterator[None]:
    """Restores the SIGTERM handler that ``main`` replaces in the test's process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(name="directory")
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model, inputs that can be scored, and inputs that cannot."""
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "tiny")
    (make_bundle(tmp_path / "torn") / "model.onnx").write_bytes(b"")
    newer = make_bundle(tmp_path / "newer")
    reseal(newer, "config.json", lambda data: data.replace(b'"schema_version": 1', b'"schema_version": 9'))
    reseal(make_bundle(tmp_path / "graph"), "model.onnx", lambda data: data.replace(b"Tanh", b"Loop"))
    write = pq.write_table
    write(pa.table({"text": ["I love it", None, "bad day"], "id": [1, 2, 3]}), tmp_path / "good.parquet")
    write(pa.table({"body": ["I love it"]}), tmp_path / "body.parquet")
    write(pa.table({"text": [1]}), tmp_path / "number.parquet")
    write(pa.table({"text": ["x"], "sentiment": [1]}), tmp_path / "clash.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"PAR1 not really PAR1")
    (tmp_path / "there.parquet").write_bytes(b"")
    return tmp_path


def reseal(directory: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (directory / name).write_bytes(change((directory / name).read_bytes()))
    names = sorted(path.name for path in directory.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((directory / one).read_bytes()).hexdigest()}  {one}\n" for one in names]
    (directory / "SHA256SUMS").write_text("".join(lines))


def environment(**more: str) -> dict[str, str]:
    mine = {key: value for key, value in os.environ.items() if not key.startswith("SENTSTREAM_")}
    return {**mine, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "train")]), **more}


SCORE = "score good.parquet --model tiny"
FAILURES = [
    (SCORE.replace("good", "missing"), "InputNotFoundError", "missing.parquet"),
    (SCORE.replace("good", "junk"), "InputFormatError", "junk.parquet"),
    (SCORE.replace("good", "body"), "ColumnNotFoundError", "text columns: body"),
    (SCORE.replace("good", "number"), "ColumnTypeError", "not text"),
    (SCORE.replace("good", "clash"), "ColumnClashError", "--prefix"),
    (f"{SCORE} --output there.parquet", "OutputExistsError", "--overwrite"),
    (f"{SCORE} --output good.parquet/below.parquet", "OutputWriteError", "good.parquet"),
    (f"{SCORE} --columns id,nope", "ColumnNotFoundError", "nope"),
    ("score good.parquet --model nope", "BundleNotFoundError", "nope"),
    ("score good.parquet --model torn", "BundleDigestError", "model.onnx"),
    ("score good.parquet --model newer", "BundleSchemaError", "upgrade sentstream"),
    ("score good.parquet --model graph", "BundleGraphError", "loop"),
    ("models show nope", "BundleNotFoundError", "nope"),
    ("models show tiny --card --json", "UsageError", "cannot be combined"),
    (f"{SCORE} --prefix=", "UsageError", "prefix"),
    ("train nothing.csv --output run --arch dense", "UsageError", "--arch"),
]


class TestExitCodes:
    @pytest.mark.parametrize(("line", "error", "says"), FAILURES, ids=[line for line, _, _ in FAILURES])
    def test_each_error_has_its_exit_code_and_one_line(
        self, directory: Path, line: str, error: str, says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sorted(path.name for path in directory.iterdir())
        code = main(line.split())
        out, err = capsys.readouterr()
        assert code == getattr(errors, error).exit_code
        assert out == ""
        assert err.startswith("sentstream: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert says in err
        assert "Traceback" not in err
        assert sorted(path.name for path in directory.iterdir()) == before

    @pytest.mark.parametrize(("line", "error"), [(line, error) for line, error, _ in FAILURES][:4])
    @pytest.mark.parametrize("where", ["first", "middle", "last", "environment"])
    def test_debug_anywhere_shows_the_traceback(
        self, directory: Path, line: str, error: str, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = line.split()
        if where == "environment":
            monkeypatch.setenv("SENTSTREAM_DEBUG", "1")
        else:
            arguments.insert({"first": 0, "middle": 1, "last": len(arguments)}[where], "--debug")
        with pytest.raises(getattr(errors, error)):
            main(arguments)

    def test_debug_after_two_dashes_is_a_file(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["score", "--model", "tiny", "--", "--debug"]) == 10
        assert "--debug" in capsys.readouterr().err

    def test_missing_cuda(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        assert main([*SCORE.split(), "--provider", "cuda"]) == 40
        err = capsys.readouterr().err
        assert "CUDA cannot run here: this ONNX Runtime is built without CUDA" in err
        assert "--provider cpu" in err

    @pytest.mark.parametrize(
        ("line", "package", "extra"),
        [
            ("models verify tiny", "onnxruntime", "cpu"),
            (SCORE, "onnxruntime", "cpu"),
            ("train good.parquet --output run", "tensorflow", "train"),
            ("fine-tune tiny good.parquet --output run", "tensorflow", "train"),
            ("calibrate tiny good.parquet --output run", "tensorflow", "train"),
            ("export-onnx tiny --output out", "tensorflow", "train"),
            ("evaluate tiny good.parquet --label-column id", "scipy", "train"),
        ],
    )
    def test_missing_extra(self, directory: Path, line: str, package: str, extra: str) -> None:
        program = (
            f"import sys; sys.modules[{package!r}] = None; from sentstream.cli import main; sys.exit(main())"
        )
        run = subprocess.run(
            [sys.executable, "-c", program, *line.split()],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        assert run.returncode == 50, run.stderr
        assert how_to_install(extra) in run.stdout + run.stderr
        assert "Traceback" not in run.stderr

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("line", "error"),
        [
            ("train good.parquet --label-column id --labels 7,8 --output run", "DataError"),
            ("evaluate tiny good.parquet --label-column id", "DataError"),
            ("data inspect good.parquet --label-column nope", "ColumnNotFoundError"),
            ("train good.parquet --label-column id --output run --resume", "CheckpointError"),
            ("export-onnx junk.keras --vocabulary words.txt --labels a,b --output out", "ModelFormatError"),
        ],
    )
    def test_training_errors(
        self, directory: Path, line: str, error: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (directory / "junk.keras").write_bytes(b"PK\x05\x06" + b"\0" * 18)
        (directory / "words.txt").write_text("\n[UNK]\nhi\n")
        assert main(line.split()) == getattr(errors, error).exit_code
        assert capsys.readouterr().err.count("\n") == 1

    def test_exit_code_table_matches_the_classes(self) -> None:
        drawn = re.findall(r"^    [│├└─ ]*(\w+Error)\s+(\d+)", errors.__doc__ or "", re.MULTILINE)
        classes = [
            one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, SentstreamError)
        ]
        assert {name: int(code) for name, code in drawn} == {one.__name__: one.exit_code for one in classes}
        assert len(drawn) == len(classes)

    def test_unexpected_error_is_reported_as_a_bug(
        self, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("two\nlines")

        monkeypatch.setattr("sentstream.bundle.load_bundle", broken)
        assert main(["models", "show", "tiny"]) == 1
        err = capsys.readouterr().err
        assert "this is a bug: ZeroDivisionError: two lines" in err
        assert "--debug" in err
        assert err.count("\n") == 1
        with pytest.raises(ZeroDivisionError):
            main(["models", "show", "tiny", "--debug"])

    def test_signal_inside_a_library_is_not_a_bug(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As C code does with an unexpected Python exception."""

        def fails(*_: object, **__: object) -> None:
            raise SystemError("<built-in method> returned a result with an exception set") from (
                KeyboardInterrupt()
            )

        monkeypatch.setattr("sentstream.cli._command", lambda: fails)
        assert main(["score"]) == 130
        assert capsys.readouterr().err == "sentstream: error: interrupted\n"


class TestUsage:
    @pytest.mark.parametrize(
        "line",
        [
            "--nope",
            "nope",
            "score",
            "score --nope good.parquet",
            "score good.parquet --threads many",
            "score good.parquet --threads 0",
            "score good.parquet --provider tpu",
            "models nope",
            "models show",
            "models show a b",
            "models verify",
            "train",
            "data inspect",
            "export-onnx",
            "evaluate",
            "fine-tune --epochs x a b",
        ],
    )
    def test_invalid_options_and_arguments(
        self, directory: Path, line: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(line.split()) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("sentstream: error: ")
        assert "--help" in err
        assert "Traceback" not in err

    @pytest.mark.parametrize("line", ["", "models", "data"])
    def test_no_arguments_prints_help(self, line: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(line.split()) in (0, 2)
        out, err = capsys.readouterr()
        assert "Usage" in out + err

    @pytest.mark.parametrize(
        "command",
        "score,models,models list,models show,models verify,data,data inspect,train,fine-tune,calibrate,"
        "evaluate,export-onnx".split(","),
    )
    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_every_command_has_help(
        self, command: str, flag: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*command.split(), flag]) == 0
        out, err = capsys.readouterr()
        assert f"sentstream {command}" in out
        assert err == ""

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        out, err = capsys.readouterr()
        first, system, packages = out.splitlines()
        assert (first, err) == (f"sentstream {sentstream.__version__}", "")
        assert platform.python_version() in system
        assert f"pyarrow {pa.__version__}" in packages
        assert f"onnxruntime {onnxruntime.__version__}" in packages

    @pytest.mark.parametrize(
        ("origin", "commit"),
        [
            ({"url": "https://x/y.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}}, ["commit 0a1b"]),
            ({"url": "file:///x", "dir_info": {"editable": True}}, []),
            (None, []),
        ],
    )
    def test_version_names_the_commit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: object, commit: list[str]
    ) -> None:
        about = tmp_path / f"sentstream-{sentstream.__version__}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: sentstream\nVersion: {sentstream.__version__}\n")
        if origin is not None:
            (about / "direct_url.json").write_text(json.dumps(origin))
        monkeypatch.syspath_prepend(str(tmp_path))
        assert version_lines()[1:-2] == commit

    def test_options_from_environment_variables(
        self, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SENTSTREAM_SCORE_MODEL", "tiny")
        monkeypatch.setenv("SENTSTREAM_SCORE_PREFIX", "mood")
        monkeypatch.setenv("SENTSTREAM_SCORE_OUTPUT", "out.parquet")
        assert main(["score", "good.parquet"]) == 0
        assert "mood_prob_positive" in pq.read_schema("out.parquet").names
        monkeypatch.setenv("SENTSTREAM_SCORE_THREADS", "none")
        capsys.readouterr()
        assert main(["score", "good.parquet"]) == 2
        monkeypatch.setenv("SENTSTREAM_MODELS_SHOW_JSON", "1")
        capsys.readouterr()
        assert main(["models", "show", "tiny"]) == 0
        assert json.loads(capsys.readouterr().out)["digest"]

    def test_command_line_overrides_environment(
        self, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SENTSTREAM_SCORE_MODEL", "nope")
        assert main([*SCORE.split(), "--output", "out.parquet"]) == 0


class TestProcess:
    """In a separate process, as a shell starts it."""

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SENTSTREAM, *arguments],
            capture_output=True,
            text=True,
            env=environment(**more),
            check=False,
        )

    def test_python_dash_m(self, directory: Path) -> None:
        run = self.run("--version")
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith(f"sentstream {sentstream.__version__}\n")

    def test_exit_code_reaches_the_shell(self, directory: Path) -> None:
        run = self.run("models", "show", "torn")
        assert (run.returncode, run.stdout) == (31, "")
        assert run.stderr.startswith("sentstream: error: ")

    def test_debug_shows_a_traceback(self, directory: Path) -> None:
        run = self.run("models", "show", "torn", "--debug")
        assert run.returncode == 1
        assert "Traceback" in run.stderr
        assert "BundleDigestError" in run.stderr

    def test_data_on_stdout_and_messages_on_stderr(self, directory: Path) -> None:
        run = subprocess.run(
            [*SENTSTREAM, *SCORE.split(), "--output", "-"], capture_output=True, env=environment(), check=True
        )
        table = pq.read_table(pa.BufferReader(run.stdout))
        assert table.num_rows == 3
        assert b"tiny" in run.stderr

    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
    )
    def test_signal_exit_status(self, directory: Path, number: signal.Signals, code: int) -> None:
        before = sorted(path.name for path in directory.iterdir())
        with child(
            [*SENTSTREAM, "score", "-", "--model", "tiny", "--output", "out.parquet"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        ) as process:
            assert process.stdin is not None
            process.stdin.write(
                b"PAR1" + b"\0" * (1 << 20)
            )  # more than a pipe holds: it is being read by now
            process.stdin.flush()
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, err
        assert out == b""
        assert err.decode() == "sentstream: error: interrupted\n"
        assert sorted(path.name for path in directory.iterdir()) == before

    @pytest.mark.parametrize(
        ("command", "reader"),
        [
            ("models show tiny", "head -n 1"),
            ("models show tiny --card", "true"),
            ("score good.parquet --model tiny --dry-run", "true"),
            ("--help", "true"),
        ],
    )
    def test_broken_pipe_is_not_an_error(self, directory: Path, command: str, reader: str) -> None:
        line = f"{sys.executable} -m sentstream {command} | {reader}; exit ${{PIPESTATUS[0]}}"
        run = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env=environment(), check=False
        )
        assert (run.returncode, run.stderr) == (0, "")

    def test_closed_stdout_does_not_crash(self, directory: Path) -> None:
        line = f"{sys.executable} -m sentstream --version >&-"
        run = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env=environment(), check=False
        )
        assert "Traceback" not in run.stderr

    def test_any_script_is_printed_in_any_locale(self, directory: Path) -> None:
        make_bundle(directory / "emoji", labels=("😡", "😍"))
        run = self.run("models", "show", "emoji", LC_ALL="C", LANG="C")
        assert run.returncode == 0, run.stderr
        assert "😍" in run.stdout
