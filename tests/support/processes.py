"""Child processes that no test leaves behind, terminals for them, and waiting for conditions."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Seconds after which a wait counts as hanging. Far longer than a slow, busy machine needs, and shorter than
#: pytest's own limit, so that the test still reports what it waited for.
PATIENCE = 400.0


def wait_until(holds: Callable[[], object], description: str = "", seconds: float = PATIENCE) -> None:
    """Wait until a condition is true.

    Raises:
        AssertionError: It is not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {description or holds}")
        time.sleep(0.01)


@contextmanager
def child(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A child process that is killed with its own children if it still runs at the end of the block.

    ``Popen`` as a context manager would wait for a child that nobody ends, for instance after a failed
    assertion or a ``communicate`` that timed out.
    """
    with subprocess.Popen(command, process_group=0, **options) as process:
        try:
            yield process
        finally:
            kill(process)


def output_of(command: Sequence[object], **environment: str) -> str:
    """Run a script that must succeed and may call ``sentstream``, and return its standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process that ``child`` started, and its children, if it still runs."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kill_once(ready: Path, command: Sequence[str | Path], **options: Any) -> None:
    """Run a command, and kill it as soon as a file exists."""
    with tempfile.TemporaryFile() as errors:
        streams = {"stdout": subprocess.DEVNULL, "stderr": errors}
        with child(command, **(streams | options)) as process:
            wait_until(lambda: ready.exists() or process.poll() is not None, f"{ready} is written")
            process.kill()
            status = process.wait()
        errors.seek(0)
        assert status == -signal.SIGKILL, errors.read().decode(errors="replace")


def on_terminal(command: Sequence[str | Path], *, answer: str = "", **options: Any) -> tuple[int, str]:
    """Run a command on a pseudo-terminal.

    Args:
        command: The command.
        answer: What is typed there.
        options: Options of ``Popen``. Standard streams that are not given are the terminal.

    Returns:
        The exit code, and what was shown.
    """
    parent_fd, child_fd = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), child_fd)
    try:
        with child(command, **(streams | options)) as process:
            os.close(child_fd)
            os.write(parent_fd, answer.encode())
            shown = b"".join(_pieces(parent_fd))
            return process.wait(PATIENCE), shown.decode(errors="replace")
    finally:
        os.close(parent_fd)


def _pieces(terminal: int) -> Iterator[bytes]:
    """Yield what a terminal shows until it is closed."""
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # how Linux reports that the other end is closed; others return nothing
            return
        if not piece:
            return
        yield piece
    raise AssertionError(f"nothing new on the terminal for {PATIENCE:.0f} s, and it is still open")
