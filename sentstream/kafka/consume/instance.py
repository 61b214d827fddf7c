"""A name for this instance that a restart on the same machine reuses.

A stable name lets a restarted instance end the transaction that a killed one left open and take its
place in the group, both immediately instead of after a timeout (KIP-98, KIP-345). Correctness does not
depend on it: the group's generation fences late members (KIP-447).
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

_MOST = 1024  # maximum instances of a group on one machine


@contextlib.contextmanager
def claimed_name(cluster: str, group: str) -> Iterator[str]:
    """Claim a name that no other running instance has: the first free one of those made here before.

    The name is in a small file that is locked while the block runs. The file is in
    ``$XDG_STATE_HOME/sentstream`` (default ``~/.local/state/sentstream``) or, if that is not writable, in the
    directory for temporary files. If no file can be written, the name is random.

    Args:
        cluster: A string that identifies the cluster, such as the bootstrap servers.
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
        """Return None: Windows has no such locks, so names are random."""
        return None

else:
    import fcntl

    def _claim(directory: Path, stem: str) -> int | None:
        """Lock and return the first file of this stem that nobody holds; None if there is none."""
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for index in range(_MOST):
                # No links: anyone can create the directory for temporary files and redirect our writes.
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
    """Return the name in a file; write a new one if the file is empty or incomplete."""
    written = os.pread(handle, 200, 0).decode("ascii", "replace")
    if written.endswith("\n"):
        return written.strip()
    name = _new_name()
    with contextlib.suppress(OSError):  # a full disk: the name is used only once
        os.truncate(handle, 0)
        os.pwrite(handle, f"{name}\n".encode(), 0)
    return name


def _new_name() -> str:
    """Return the host name, for people to recognize, with a random suffix."""
    host = "".join(one if one.isascii() and one.isalnum() else "-" for one in socket.gethostname())
    return f"{host[:40]}-{secrets.token_hex(6)}"
