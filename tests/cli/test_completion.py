"""Shell completion, through the shells' own scripts if they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentstream.cli.options.completion import complete_model

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ["sentiment140", "tweets", "tweets-small"]
HEAVY = {"pyarrow", "numpy", "onnxruntime", "tensorflow", "kafka", "pandas", "sentstream.bundle"}


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    """A directory with files, a subdirectory, and sentstream on the path."""
    for name in ("tweets.parquet", "other.parquet", "client.properties"):
        (tmp_path / name).touch()
    (tmp_path / "logs").mkdir()
    command = tmp_path / "bin" / "sentstream"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m sentstream \"$@\"\n")
    command.chmod(0o755)
    return tmp_path


def environment(directory: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SENTSTREAM_", "_TYPER"))}
    return {
        **kept,
        "HOME": str(directory / "home"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "train")]),
        "PATH": f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
        **more,
    }


def ask(directory: Path, line: str) -> list[str]:
    """Return the completions for the last word, as bash requests them."""
    cword = str(len(line.split(" ")) - 1)
    run = answered(directory, _SENTSTREAM_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=cword)
    assert run.stderr == ""
    return run.stdout.split()


def answered(directory: Path, *program: str, **asked: str) -> subprocess.CompletedProcess[str]:
    """Run a program, by default sentstream, with a shell's completion variables."""
    return subprocess.run(
        program or ["sentstream"],
        env=environment(directory, **asked),
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )


class TestAnswers:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("sentstream sc", ["score"]),
            ("sentstream ex", ["explain", "export-onnx"]),
            ("sentstream models sh", ["show"]),
            ("sentstream score --ov", ["--overwrite"]),
            ("sentstream score --provider ", ["auto", "cpu", "cuda"]),
            ("sentstream consume --model ", SHIPPED),
            ("sentstream score --model tw", ["tweets", "tweets-small"]),
            ("sentstream explain --model s", ["sentiment140"]),
            ("sentstream models verify tweets ", SHIPPED),
            ("sentstream evaluate s", ["sentiment140"]),
            ("sentstream train data.csv --teacher tweets-", ["tweets-small"]),
        ],
    )
    def test_commands_options_choices_and_models(
        self, directory: Path, line: str, expected: list[str]
    ) -> None:
        assert ask(directory, line) == expected

    @pytest.mark.parametrize(
        "line",
        [
            "sentstream score tw",
            "sentstream score --output sc",
            "sentstream score --model ./b",
            "sentstream consume --client-config cl",
            "sentstream evaluate tweets he",
            "sentstream train tr",
            "sentstream explain te --html pa",
        ],
    )
    def test_files_are_completed_by_the_shell(self, directory: Path, line: str) -> None:
        assert ask(directory, line) == []

    def test_description_is_on_one_line(self, directory: Path) -> None:
        run = answered(
            directory,
            _SENTSTREAM_COMPLETE="complete_fish",
            _TYPER_COMPLETE_FISH_ACTION="get-args",
            _TYPER_COMPLETE_ARGS="sentstream score --",
        )
        lines = run.stdout.splitlines()
        assert len(lines) > 30
        assert all(re.fullmatch(r"--[a-z-]+\t\S.*\.", line) for line in lines), run.stdout

    def test_nothing_heavy_is_loaded(self, directory: Path) -> None:
        program = (
            "import sys\n"
            "from sentstream.cli import main\n"
            "try:\n    main()\n"
            f"finally:\n    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
        )
        run = answered(
            directory,
            sys.executable,
            "-c",
            program,
            _SENTSTREAM_COMPLETE="complete_bash",
            COMP_WORDS="sentstream score --model tw",
            COMP_CWORD="3",
        )
        assert run.stdout.split() == ["tweets", "tweets-small"]
        assert run.stderr == "[]\n"

    def test_leftover_variable_installs_nothing(self, directory: Path) -> None:
        run = subprocess.run(
            ["sentstream", "--version"],
            env=environment(directory, SENTSTREAM_INSTALL_COMPLETION="1", SENTSTREAM_SHOW_COMPLETION="1"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.startswith("sentstream ")
        assert not (directory / "home").exists()

    def test_every_shipped_model_is_completed(self) -> None:
        from sentstream.bundle import list_models

        assert complete_model("") == list_models()
        assert complete_model("[") == complete_model("../") == []


class TestShells:
    def run(self, directory: Path, shell: str, script: str) -> str:
        if not shutil.which(shell):
            pytest.skip(f"there is no {shell}")
        run = subprocess.run(
            [shell, "-c", script],
            env=environment(directory),
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def test_bash_with_the_printed_script(self, directory: Path) -> None:
        """Called by bash itself; falls back to file names."""
        out = self.run(
            directory,
            "bash",
            "sentstream --show-completion > shown.sh; source ./shown.sh\n"
            "complete -p sentstream\n"
            "COMP_WORDS=(sentstream score --model tw); COMP_CWORD=3\n"
            '_sentstream_completion sentstream; echo "${COMPREPLY[*]}"\n'
            "COMP_WORDS=(bin/sentstream mo); COMP_CWORD=1\n"
            '_sentstream_completion bin/sentstream; echo "${COMPREPLY[*]}"\n',
        )
        first, *answers = out.splitlines()
        assert first == "complete -o default -F _sentstream_completion sentstream"
        assert answers == ["tweets tweets-small", "models"]

    def test_bash_after_installation(self, directory: Path) -> None:
        (directory / "home").mkdir()
        out = self.run(
            directory,
            "bash",
            "sentstream --install-completion; sentstream --install-completion\n"
            "source ~/.bashrc; complete -p sentstream",
        )
        assert out.count("completion installed in") == 2
        assert out.splitlines()[-1] == "complete -o default -F _sentstream_completion sentstream"
        assert (directory / "home/.bashrc").read_text().count("sentstream.sh") == 1

    def test_fish(self, directory: Path) -> None:
        out = self.run(
            directory,
            "fish",
            "sentstream --show-completion | source\n"
            "complete -C 'sentstream score --model tw'; echo -; complete -C 'sentstream score tw'",
        )
        models, files = out.split("-\n", 1)
        assert models.split() == ["tweets", "tweets-small"]
        assert files.split() == ["tweets.parquet"]

    def test_zsh(self, directory: Path) -> None:
        out = self.run(directory, "zsh", "sentstream --show-completion; true")
        assert out.startswith("#compdef sentstream\n")
        for line, expected in (
            ("sentstream score --model tw", """_arguments '*: :(("tweets"\n"tweets-small"))'\n"""),
            ("sentstream score tw", "_files\n"),
        ):
            run = subprocess.run(
                ["sentstream"],
                env=environment(directory, _SENTSTREAM_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line),
                capture_output=True,
                text=True,
                check=True,
            )
            assert run.stdout == expected
