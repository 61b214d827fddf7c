"""The documentation is executed: commands, Python, options, the table of errors, and links."""

from __future__ import annotations

import doctest
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer

import sentstream
from sentstream import errors
from sentstream.cli import app, main
from sentstream.errors import INTERRUPTED_EXIT_CODE, TERMINATED_EXIT_CODE, SentstreamError
from sentstream.kafka.access import settings
from sentstream.kafka.clients.api import Partition
from sentstream.kafka.dead_letters import letter as deadletters
from sentstream.kafka.messages.codec import TEXT_FIELDS, Codec
from sentstream.kafka.sinks import rows, topic
from sentstream.kafka.sinks.dataset import PARTITION_COLUMNS
from sentstream.kafka.watch.drift import Drift
from sentstream.kafka.watch.events import Committed
from sentstream.kafka.watch.metrics import RESULTS, Metrics
from tools.fetched import Unavailable
from tools.local_kafka import LocalKafka

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MARK = "<!-- test -->"
KAFKA_MARK = "<!-- test: kafka -->"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    marked: bool
    needs_kafka: bool

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text("utf-8").splitlines()
    start: int | None = None
    for index, line in enumerate(lines):
        if start is None and line.startswith("```"):
            start = index
        elif start is not None and line == "```":
            text = "\n".join(lines[start + 1 : index]) + "\n"
            mark = lines[start - 1] if start else ""
            language = lines[start].removeprefix("```")
            yield Block(page, start + 1, language, text, mark == MARK, mark == KAFKA_MARK)
            start = None
    assert start is None, f"{page.name}: a block that never ends"


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "sh"]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def run_shell(text: str, directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the lines one after the other in a directory, as a reader would."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    mine = {key: value for key, value in os.environ.items() if not key.startswith("SENTSTREAM_")}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", text],
        cwd=directory,
        env={**mine, "PATH": os.pathsep.join(path), **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def is_plain(line: str) -> bool:
    """Whether a line is one of our commands without shell syntax such as pipes or redirections.

    >>> [is_plain(f"sentstream {rest}") for rest in ("a '>' b  # so > so", "a > b", "a || b")]
    [True, False, False]
    """
    words = shlex.shlex(line, posix=False, punctuation_chars=True)
    return line.startswith("sentstream ") and not any(set(word) <= set("();<>|&") for word in words)


def run_here(text: str, directory: Path) -> Iterator[str]:
    """Return the failures of lines; plain commands run in this process, the rest in a shell.

    A new process takes a second before it scores.
    """
    for plain, lines in itertools.groupby(text.splitlines(True), is_plain):
        if plain:
            for line in lines:
                if code := main(shlex.split(line, comments=True)[1:]):
                    yield f"{line}exit code {code}"
            continue
        run = run_shell("".join(lines), directory)
        if run.returncode or "Traceback" in run.stderr:
            yield run.stderr


class TestShell:
    @pytest.mark.slow
    @pytest.mark.parametrize("block", [block for block in SHELL if block.marked], ids=str)
    def test_marked_commands_run(
        self,
        block: Block,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The README's run in a shell, as users run them; those of other pages run here."""
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        if block.page.name == "README.md":
            run = run_shell(block.text, tmp_path)
            assert run.returncode == 0, f"{block}:\n{run.stderr}"
            assert "Traceback" not in run.stderr
            return
        monkeypatch.chdir(tmp_path)
        for name in os.environ:
            if name.startswith("SENTSTREAM_"):
                monkeypatch.delenv(name)
        wrong = next(run_here(block.text, tmp_path), None)
        error = capsys.readouterr().err
        assert wrong is None, f"{block}:\n{wrong}\n{error}"
        assert "Traceback" not in error

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "page", [page for page in PAGES if any(b.page == page and b.needs_kafka for b in SHELL)], ids=str
    )
    def test_commands_that_need_a_broker_run(self, page: Path, tmp_path: Path) -> None:
        """The commands of a page run in order, with their own broker where the page says so."""
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        text = "".join(block.text for block in SHELL if block.page == page and block.needs_kafka)
        try:
            with LocalKafka() as kafka:
                run = run_shell(
                    text,
                    tmp_path,
                    SENTSTREAM_KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap,
                    XDG_STATE_HOME=str(tmp_path),
                )
        except Unavailable as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        assert run.returncode == 0, f"{page.name}:\n{run.stderr}"
        assert "Traceback" not in run.stderr

    def test_markers_precede_blocks(self) -> None:
        assert sum(block.marked for block in SHELL) >= 4
        lines = [line for page in PAGES for line in page.read_text("utf-8").splitlines()]
        assert lines.count(MARK) == sum(block.marked for block in (*SHELL, *PYTHON))
        assert lines.count(KAFKA_MARK) == sum(block.needs_kafka for block in SHELL) >= 2
        others = {line for line in lines if line.startswith("<!--")} - {MARK, KAFKA_MARK}
        # Around the tables that benchmarks/scale makes.
        assert not [line for line in others if not re.fullmatch(r"<!-- (scale: \w+|end) -->", line)]

    def test_every_block_has_a_language(self) -> None:
        for block in BLOCKS:
            assert block.language, str(block)


class TestPython:
    @pytest.mark.parametrize("page", [page for page in PAGES if any(b.page == page for b in PYTHON)], ids=str)
    def test_python_examples_run_as_shown(
        self,
        page: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The blocks of a page are one session; those with a prompt are doctests.

        They run in the repository, a marked one (which may write) in a directory with the examples.
        """
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        names: dict[str, Any] = {"__name__": "__main__"}
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        for block in PYTHON:
            if block.page != page:
                continue
            monkeypatch.chdir(tmp_path if block.marked else ROOT)
            if ">>>" not in block.text:
                exec(compile(block.text, str(block), "exec"), names)
                continue
            examples = doctest.DocTestParser().get_doctest(
                block.text, names, str(block), str(page), block.line
            )
            runner = doctest.DocTestRunner(optionflags=flags)
            runner.run(examples, clear_globs=False)
            result = runner.summarize(verbose=False)
            assert result.attempted
            assert not result.failed, capsys.readouterr().out
            names.update(examples.globs)


@dataclass(frozen=True)
class Command:
    """A command of the tree: ``score``, ``models show`` …"""

    words: tuple[str, ...]
    node: Any

    @property
    def options(self) -> set[str]:
        """Every way to write one of its options."""
        found = {"--help", "-h"}
        for parameter in self.node.params:
            if parameter.param_type_name == "option":
                found.update((*parameter.opts, *parameter.secondary_opts))
        return found


def commands() -> dict[tuple[str, ...], Command]:
    found: dict[tuple[str, ...], Command] = {}
    waiting = [Command((), typer.main.get_command(app))]
    while waiting:
        command = waiting.pop()
        found[command.words] = command
        for name, node in getattr(command.node, "commands", {}).items():
            waiting.append(Command((*command.words, name), node))
    return found


COMMANDS = commands()
PAGES_TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)


def prose() -> Iterator[tuple[str, str]]:
    """Every command line of the pages: in a shell block, or in backquotes inside a sentence."""
    for page in LINKED:
        text = page.read_text("utf-8")
        for block in blocks(page):
            if block.language == "sh":
                joined = block.text.replace("\\\n", " ")
                for line in joined.splitlines():
                    for piece in re.split(r"\|\|?|&&|;", line.partition(" #")[0]):
                        if re.match(r"\s*sentstream ", piece):
                            yield str(block), piece.strip()
        bare = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        for found in re.findall(r"`(sentstream [^`]+)`", bare):
            yield page.name, " ".join(found.split())


class TestCommands:
    def test_every_command_line_has_real_commands_and_options(self) -> None:
        wrong: list[str] = []
        lines = sorted(set(prose()))
        assert len(lines) > 100
        for where, line in lines:
            words = shlex.split(line)[1:]
            path: tuple[str, ...] = ()
            while words and (*path, words[0]) in COMMANDS:
                path = (*path, words.pop(0))
            if not path and not line.startswith(("sentstream --", "sentstream …", "sentstream COMMAND")):
                wrong.append(f"{where}: no such command: {line}")
            known = COMMANDS[path].options | {"--debug"}
            options = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
            wrong += [f"{where}: no option {option}: {line}" for option in options if option not in known]
        assert not wrong, "\n".join(wrong)

    def test_every_command_is_documented(self) -> None:
        for words in sorted(COMMANDS)[1:]:
            assert f"sentstream {' '.join(words)}" in PAGES_TEXT, words
            assert COMMANDS[words].node.help, words

    def test_every_option_is_explained(self) -> None:
        silent = [
            f"{' '.join(words)}: {parameter.opts}"
            for words, command in COMMANDS.items()
            for parameter in command.node.params
            if parameter.name != "help"
            and not getattr(parameter, "help", None)
            and not any(option in PAGES_TEXT for option in parameter.opts)
        ]
        assert not silent, "\n".join(silent)

    def test_options_named_in_prose_exist(self) -> None:
        known = set[str]().union(*(command.options for command in COMMANDS.values()))
        outside = {"--check", "--strict", "--volumes"}  # of other programs
        for page in PAGES:
            text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
            for span in re.findall(r"`(--[^`]+)`", text):
                option = re.split(r"[\s=]", span)[0]
                assert option in known | outside, f"{page.name}: {option}"

    def test_named_environment_variables_belong_to_options(self) -> None:
        known = {
            "_".join(["SENTSTREAM", *words, parameter.name]).upper().replace("-", "_").replace(" ", "_")
            for words, command in COMMANDS.items()
            for parameter in command.node.params
        }
        known |= {parameter.envvar for command in COMMANDS.values() for parameter in command.node.params}
        known |= set(map(settings.variable, settings.USED))
        known |= {"SENTSTREAM_BROKER_LIBS", "SENTSTREAM_DATA", "SENTSTREAM_TEST_BOOTSTRAP"}  # of tests, tools
        for page in LINKED:
            for name in re.findall(r"\bSENTSTREAM_[A-Z_]+\b", page.read_text("utf-8")):
                assert name in known, f"{page.name}: {name}"


class TestErrors:
    def test_error_table_matches_the_classes(self) -> None:
        text = (ROOT / "docs" / "errors.md").read_text("utf-8")
        rows = re.findall(r"^\| (\d+) \| (?:`(\w+)`)? ?\| (.+) \|$", text, re.MULTILINE)
        documented = [(int(code), name) for code, name, _ in rows if name]
        classes = [
            (one.exit_code, name)
            for name, one in vars(errors).items()
            if inspect.isclass(one) and issubclass(one, SentstreamError)
        ]
        assert documented == classes
        assert {int(code) for code, name, _ in rows if not name} == {
            0,
            INTERRUPTED_EXIT_CODE,
            TERMINATED_EXIT_CODE,
        }
        assert all(what.strip() for _, _, what in rows)


class TestStreaming:
    """``docs/streaming.md`` is complete."""

    TEXT = (ROOT / "docs" / "streaming.md").read_text("utf-8")

    def cells(self, first: str) -> set[str]:
        """The names in the first column of the table with this head."""
        table = self.TEXT.partition(f"\n| {first} |")[2].partition("\n\n")[0]
        return {
            name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])
        }

    def test_options(self) -> None:
        streaming = [words for words in COMMANDS if {*words[:1]} & {"consume", "produce", "dead-letters"}]
        assert len(streaming) >= 4
        for words in streaming:
            for parameter in COMMANDS[words].node.params:
                if parameter.name != "help" and parameter.param_type_name == "option":
                    spellings = (*parameter.opts, *parameter.secondary_opts)
                    assert any(each in self.TEXT for each in spellings), f"{' '.join(words)}: {spellings}"

    def test_metrics(self) -> None:
        metrics = Metrics({"model": "m", "digest": "d"})
        Drift(metrics.registry, 60.0)
        metrics.committed(Committed({"positive": 1}, newest=1, offsets={Partition("tweets", 0): 1}))
        metrics.lags({Partition("tweets", 0): 1})
        exported = set[str]()
        for family in metrics.registry.collect():
            if family.name.startswith("sentstream_"):
                exported.add(family.name + {"counter": "_total", "info": "_info"}.get(family.type, ""))
        assert self.cells("metric") == exported
        assert all(f"`{result}`" in self.TEXT for result in RESULTS)

    def test_dead_letters(self) -> None:
        assert self.cells("header") == deadletters._OURS
        assert self.cells("class") == {
            name
            for name, one in vars(errors).items()
            if inspect.isclass(one)
            and issubclass(one, errors.MessageError)
            and one is not errors.MessageError
        }

    def test_field_header_and_column_names(self) -> None:
        for name in (*TEXT_FIELDS, *topic.HEADERS, *(field.name for field in rows._RECORD)):
            assert f"`{name}`" in self.TEXT
        for name in PARTITION_COLUMNS:
            assert name in self.TEXT

    def test_example_message_matches_the_output(self) -> None:
        (block,) = (
            block for block in BLOCKS if block.page.name == "streaming.md" and block.language == "json"
        )
        value = re.sub(rb',"sentiment".*', b"}", block.text.strip().encode())
        model = sentstream.load()
        codec = Codec("json", field=None, prefix="sentiment", labels=model.labels)
        texts = codec.texts([value])
        batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())})
        scored = model.scorer(text_column="text", prefix="sentiment", columns=[]).score(batch).batch
        (found,) = map(json.loads, codec.outputs([value], [value.decode()], scored))
        assert list(found) == list(json.loads(block.text))
        assert found == pytest.approx(
            json.loads(block.text), abs=2e-3
        )  # another CPU may round a state the other way


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(kept.replace(" ", "-"))
    return found


def test_relative_links_resolve() -> None:
    dead: list[str] = []
    for page in LINKED:
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+://|mailto:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                dead.append(f"{page.name}: {target}")
    assert not dead, "\n".join(dead)
