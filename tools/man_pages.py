"""Manual pages of the command line, for packagers, generated from the text of ``--help``.

    python tools/man_pages.py build/man

writes ``sentstream.1`` and a page per command, ``sentstream-score.1`` …, to be installed into ``man1``. The
pages contain no date: the same sources produce the same bytes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import typer  # noqa: E402

import sentstream  # noqa: E402
from sentstream import errors  # noqa: E402
from sentstream.cli import app  # noqa: E402

#: A default given as text, not as a value, is in parentheses there.
_SAID = re.compile(r"\[default: \((.*?)\)(?=[;\]])")
_RICH = re.compile(r"\[/?(?:bold|dim|italic)\]")


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page's file name and text."""
    waiting: list[tuple[tuple[str, ...], Any]] = [(("sentstream",), typer.main.get_command(app))]
    names: list[tuple[tuple[str, ...], Any]] = []
    while waiting:
        words, node = waiting.pop(0)
        names.append((words, node))
        waiting += [((*words, name), one) for name, one in getattr(node, "commands", {}).items()]
    for words, node in names:
        inner = [(one, other) for one, other in names if one[:-1] == words]
        yield f"{'-'.join(words)}.1", _page(words, node, inner)


def _page(words: Sequence[str], node: Any, inner: Sequence[tuple[tuple[str, ...], Any]]) -> str:
    name = "-".join(words)
    first, *others = [_plain(part) for part in (node.help or "").split("\n\n")]
    context = node.make_context(" ".join(words), [], resilient_parsing=True)
    usage = " ".join(node.collect_usage_pieces(context))
    lines = [
        f'.TH {_escaped(name.upper())} 1 "" "sentstream {sentstream.__version__}" "sentstream"',
        *(".SH NAME", f"{_escaped(name)} \\- {_escaped(first.rstrip('.'))}"),
        *(".SH SYNOPSIS", f".B {_escaped(' '.join(words))}", _escaped(usage)),
        *(".SH DESCRIPTION", _escaped(first)),
    ]
    for part in others:
        lines += [".PP", _escaped(part)]
    if inner:
        lines.append(".SH COMMANDS")
        for one, other in inner:
            lines += _item(" ".join(one[1:]), (other.help or "").split("\n\n")[0])
    lines += _parameters(node, context)
    if len(words) == 1:
        lines += [".SH EXIT STATUS", *_exit_codes()]
    lines += _examples(node.epilog)
    related = [words[:-1]] if len(words) > 1 else []
    related += [one for one, _ in inner]
    if related:
        pages_named = ", ".join(f"\\fB{_escaped('-'.join(one))}\\fR(1)" for one in related)
        lines += [".SH SEE ALSO", pages_named]
    return "\n".join(lines) + "\n"


def _parameters(node: Any, context: Any) -> list[str]:
    """Return arguments and options, under the same headings as in the help."""
    titled: dict[str, list[str]] = {}
    for one in node.get_params(context):
        if getattr(one, "hidden", False):
            continue
        named, help = one.get_help_record(context) or (one.human_readable_name, "")
        title = "OPTIONS"
        if one.param_type_name == "argument":
            title, named = "ARGUMENTS", one.metavar or one.human_readable_name
        panel = getattr(one, "rich_help_panel", None)
        titled.setdefault(panel.upper() if panel else title, []).extend(_item(named, help))
    return [line for title, items in titled.items() for line in (f".SH {_escaped(title)}", *items)]


def _exit_codes() -> list[str]:
    """Return the meaning of each exit code, from the tree in the docstring of ``sentstream.errors``."""
    drawn = re.findall(r"(\w+) +(\d+) *(.*)$", inspect.getdoc(errors) or "", re.MULTILINE)
    lines = _item("0", "All was done.")
    for name, code, description in drawn:
        if hasattr(errors, name):
            lines += _item(code, f"{name}{': ' if description else ''}{description.replace('``', '')}")
    return lines


def _examples(epilog: str | None) -> list[str]:
    """Return the command lines of the examples, one per line."""
    title, *commands = (epilog or "").strip().split("\n\n")
    if not commands:
        return []
    lines = [f".SH {_escaped(_plain(title).upper())}", ".nf"]
    return [*lines, *(_escaped(line) for line in commands), ".fi"]


def _item(name: str, description: str) -> list[str]:
    return [".TP", f"\\fB{_escaped(name)}\\fR", _escaped(_plain(description)) or "\\&"]


def _plain(text: str) -> str:
    """Return help text as one line without colors."""
    return " ".join(_SAID.sub(r"[default: \1", _RICH.sub("", text)).split())


def _escaped(text: str) -> str:
    r"""Escape text so that no formatter takes it for a request; the result is ASCII.

    >>> _escaped("--row N \\ …")
    '\\-\\-row N \\e \\[u2026]'
    >>> _escaped(".profile")
    '\\&.profile'
    """
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write all pages."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/man_pages.py DIRECTORY")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages():
        (folder / name).write_text(page, "ascii")


if __name__ == "__main__":
    main()
