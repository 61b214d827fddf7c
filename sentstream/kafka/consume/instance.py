"""A name for this instance that a restart on this machine finds again.

A stable name lets a restarted instance end the transaction that a killed one left open, and take its
place in the group, both at once instead of after a timeout (KIP-98, KIP-345). Correctness does not rest
on it: the group's generation fences whoever is late (KIP-447).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MOST = 1024  # instances of a group on one machine


@contextlib.contextmanager
def claimed_name(cluster: str, group: str) -> Iterator[str]:
    """A name that no other living instance has; the lowest free one of those made here before.

    The name is in a small file that is locked while the block runs, in ``$XDG_STATE_HOME/sentstream`` (by
    default ``~/.local/state/sentstream``) or, where that cannot be written, a directory for temporary
    files. Where no file can be written, the name is a random one.

    Args:
        cluster: What tells clusters apart, as the bootstrap servers.
        group: The consumer group.
    """
    stem = hashlib.sha256(f"{cluster}\0{group}".encode()).hexdigest()[:16]
    for directory in _directories():
        handle = _claim(directory, stem)
        if handle is not None:
            try:
                yield _read_or_make(handle)
            finally:
                os.close(handle)
            return
    yield _new_name()


def _directories() -> Iterator[Path]:
    state = os.environ.get("XDG_STATE_HOME")
    with contextlib.suppress(RuntimeError):  # no home
        yield (Path(state) if state else Path.home() / ".local" / "state") / "sentstream"
    yield Path(tempfile.gettempdir()) / f"sentstream-{os.getuid() if hasattr(os, 'getuid') else 'state'}"


if sys.platform == "win32":

    def _claim(directory: Path, stem: str) -> int | None:
        """No such locks on Windows: names of the moment."""
        return None

else:
    import fcntl

    def _claim(directory: Path, stem: str) -> int | None:
        """The first file of this stem that nobody holds, locked."""
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for index in range(_MOST):
                # No links: anybody can make the directory for temporary files, and have us write elsewhere.
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                handle = os.open(directory / f"{stem}.{index}", flags, 0o600)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(handle)
                else:
                    return handle
        return None


def _read_or_make(handle: int) -> str:
    """The name in a file; a file that was never finished gets one."""
    written = os.pread(handle, 200, 0).decode("ascii", "replace")
    if written.endswith("\n"):
        return written.strip()
    name = _new_name()
    with contextlib.suppress(OSError):  # a full disk: it is a name of the moment
        os.truncate(handle, 0)
        os.pwrite(handle, f"{name}\n".encode(), 0)
    return name


def _new_name() -> str:
    """The host's name, for people, and what makes it unique."""
    host = "".join(one if one.isascii() and one.isalnum() else "-" for one in socket.gethostname())
    return f"{host[:40]}-{secrets.token_hex(6)}"
