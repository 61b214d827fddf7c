"""A pseudo-terminal for tests: what a person would see on it."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from processes import PATIENCE
from rich.cells import cell_len

ROOT = Path(__file__).resolve().parents[2]


class Screen:
    """A terminal as far as rich uses it; other cursor movements are errors."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.lines, self.row, self.column = [""] * height, 0, 0
        self.scrolled: list[str] = []
        self.cursor = True
        self.wide = False  # whether a line did not fit; lines are not wrapped here
        self._rest = ""

    def feed(self, text: str) -> None:
        text = self._rest + text
        cut = text.rfind("\x1b")
        whole = cut < 0 or re.match(r"\x1b\[[?\d;]*[A-Za-z]", text[cut:])
        self._rest, text = ("", text) if whole else (text[cut:], text[:cut])
        for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if piece == "\r":
                self.column = 0
            elif piece == "\n":
                self._down()
            elif not piece.startswith("\x1b"):
                self._put(piece)
            elif piece in ("\x1b[?25l", "\x1b[?25h"):
                self.cursor = piece.endswith("h")
            elif piece.endswith("A"):
                up = int(piece[2:-1] or 1)
                assert up <= self.row, "above the top"
                self.row -= up
            elif piece == "\x1b[2K":
                self.lines[self.row] = ""
            else:
                assert piece.endswith("m"), repr(piece)

    def _down(self) -> None:
        self.row += 1
        if self.row == self.height:
            self.scrolled.append(self.lines.pop(0))
            self.lines.append("")
            self.row -= 1

    def _put(self, piece: str) -> None:
        line = self.lines[self.row]
        assert cell_len(line) <= self.column or self.column == 0, "writes into the middle"
        self.lines[self.row] = (line if self.column else "") + piece
        self.column = cell_len(self.lines[self.row])
        self.wide |= self.column > self.width

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Terminal:
    """A program whose standard error is a pseudo-terminal.

    Args:
        arguments: The arguments after ``python``.
        width: Columns of the terminal.
        height: Its lines.
        more: Environment variables.
    """

    def __init__(self, arguments: Sequence[str], width: int = 80, height: int = 24, **more: str) -> None:
        self.screen = Screen(width, height)
        self.raw, self._decoder = "", codecs.getincrementaldecoder("utf-8")()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        dropped = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TERM"}
        dropped.add("CI")
        mine = {name: value for name, value in os.environ.items() if name not in dropped}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=slave,
            text=True,
            cwd=ROOT,
            env={**mine, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONUTF8": "1", **more},
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        os.close(self._master)

    def say(self, line: str) -> None:
        self._stdin.write(f"{line}\n")
        self._stdin.flush()

    @property
    def _stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def read_until(self, condition: Callable[[Screen], object]) -> None:
        """Read the screen until a condition is true.

        Other parts of the screen may not be there yet: a picture arrives in parts of a few kilobytes.
        """
        end = time.monotonic() + PATIENCE
        while not condition(self.screen):
            assert time.monotonic() < end, self.screen.text
            if not self._read():
                assert condition(self.screen), self.screen.text
                return

    def finish(self) -> tuple[int, str]:
        """Let it end; return its exit code and what it wrote to standard output."""
        self._stdin.close()
        while self._read():
            pass
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        return self.process.wait(PATIENCE), out

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # the other end is closed
            return False
        text = self._decoder.decode(data)
        self.raw += text
        self.screen.feed(text)
        return bool(data)
