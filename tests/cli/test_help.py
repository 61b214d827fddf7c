"""Every command's help follows one style, and its examples are valid command lines."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from sentstream.cli import app, main
from sentstream.cli.terminal.help import fill


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that is not a group, by its words."""
    waiting = [("", typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        inner = getattr(command, "commands", {})
        waiting += [(f"{words} {name}".strip(), one) for name, one in inner.items()]
        if not inner:
            yield words, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("words", sorted(COMMANDS))
class TestEveryHelp:
    def test_help_begins_with_one_sentence(self, words: str) -> None:
        first = COMMANDS[words].help.split("\n\n")[0]
        assert re.fullmatch(r"[A-Z].*\.", first), first
        assert len(first) <= 105  # it stands in the list of commands

    def test_help_fits_the_terminal(
        self, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Paragraphs are wrapped at the terminal's width, not at the docstring's line breaks."""
        monkeypatch.setenv("COLUMNS", "80")
        assert main([*words.split(), "--help"]) == 0
        shown = capsys.readouterr().out
        lines = [line.strip() for line in shown.splitlines()]
        for paragraph in fill(COMMANDS[words].help).split("\n\n"):
            for line in textwrap.wrap(paragraph, 78, break_on_hyphens=False):
                assert line in lines
        assert not re.search(r"<bool>|<list\[|<str>|\[default: \(", shown)

    def test_each_option_has_a_metavar_and_a_sentence(self, words: str) -> None:
        for one in COMMANDS[words].params:
            if one.name in ("help", "install_completion", "show_completion"):
                continue
            text = one.help
            assert re.fullmatch(r"\S.*[.,]", text, re.DOTALL), (one.name, text)
            for other in ("several times", "be repeated", "more than once", "given again"):
                assert other not in text, f"{one.name}: say 'Repeatable'"
            many = one.param_type_name == "option" and one.multiple
            assert text.endswith(" Repeatable.") == many, f"{one.name}: {text}"
            choices = "Literal[" in one.bare_type()
            assert one.metavar or choices or getattr(one, "is_flag", False), f"{one.name} has no metavar"
            if one.metavar:
                assert not one.metavar.endswith("..."), f"{one.name}: typer adds the dots"
                assert one.metavar == one.metavar.upper(), one.metavar

    def test_help_ends_with_valid_examples(self, words: str) -> None:
        title, *lines = (COMMANDS[words].epilog or "").strip().split("\n\n")
        assert title == "[bold]Examples[/bold]"
        assert lines
        known = {each for one in COMMANDS[words].params for each in (*one.opts, *one.secondary_opts)}
        for line in lines:
            assert len(line) <= 78, line
            (own,) = (part.strip() for part in line.split("|") if part.strip().startswith("sentstream "))
            assert own.startswith(f"sentstream {words}"), line
            given = [word.partition("=")[0] for word in shlex.split(own.partition(" > ")[0])]
            assert {word for word in given if re.match("--?[a-z]", word)} <= known, line
