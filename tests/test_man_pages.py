"""The manual pages contain every command and option, and formatters accept them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from sentstream.cli import app
from tools.man_pages import pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = dict(pages())


def commands() -> dict[str, Any]:
    """The file of each command's page, and the command."""
    found, waiting = {}, [("sentstream", typer.main.get_command(app))]
    while waiting:
        name, node = waiting.pop()
        found[f"{name}.1"] = node
        waiting += [(f"{name}-{word}", one) for word, one in getattr(node, "commands", {}).items()]
    return found


COMMANDS = commands()


def test_each_command_has_a_page() -> None:
    assert set(PAGES) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_page_is_complete(name: str) -> None:
    page = PAGES[name]
    assert page.isascii()
    assert page.startswith(".TH SENTSTREAM")
    heads = re.findall(r"^\.SH (.+)$", page, re.MULTILINE)
    assert heads[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert len(set(heads)) == len(heads)
    known = {".TH", ".SH", ".PP", ".TP", ".B", ".nf", ".fi"}
    assert {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))} <= known
    for parameter in COMMANDS[name].params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            if option.startswith("-"):
                assert option.replace("-", "\\-") in page, option


def test_exit_codes_are_listed() -> None:
    assert "\\fB11\\fR\nInputFormatError: " in PAGES["sentstream.1"]


def test_pages_are_reproducible(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "man_pages.py", tmp_path / "man1"], check=True)
    assert {path.name: path.read_text("ascii") for path in (tmp_path / "man1").iterdir()} == PAGES


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff that formats the pages")
def test_formatter_reports_no_warnings(tmp_path: Path) -> None:
    for name, page in PAGES.items():
        (tmp_path / name).write_text(page, "ascii")
    command = ["groff", "-man", "-ww", "-Tutf8", "-P-c", *sorted(PAGES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    text = re.sub(r".\x08", "", done.stdout)
    assert "sentstream-score - Label the tweets in files" in " ".join(text.split())
    assert "--text-column NAME" in text
