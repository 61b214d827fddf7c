"""A lock that is an object: its holder renews it, and whoever dies lets go of it.

Clocks of machines differ, so nobody compares times: an object that stays the same for as long as leases last,
watched by whoever wants it, is a dead holder's. On the same machine that is known at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from sentstream.errors import OutputBusyError, OutputWriteError, SentstreamError, StorageError
from sentstream.storage.connect import seconds_left

#: What names a version of an object, for conditional writes.
Lease: TypeAlias = "dict[str, str]"

#: Seconds between renewals, and after how many without one a lease is a dead holder's.
RENEWED, LASTS = 5.0, 30.0
#: Seconds that the end of a run, or Ctrl-C, waits for it to be removed.
_AT_THE_END = 5.0


class Leases(Protocol):
    """Where leases lie."""

    def read_all(self, name: str) -> tuple[bytes, Lease] | None:
        """The content of an object, and its version; None where there is none."""

    def write_all(self, name: str, data: bytes, replacing: Lease | None) -> Lease | None:
        """Write it in the place of that version, or of nothing; None where another one is there."""

    def remove(self, name: str) -> None:
        """Remove it."""


@contextlib.contextmanager
def hold(
    storage: Leases, name: str, what: str, *, renewed: float = RENEWED, lasts: float = LASTS
) -> Iterator[None]:
    """Hold a lease for as long as the block runs.

    Args:
        storage: Where it lies.
        name: The object.
        what: What messages call what is locked.
        renewed: Seconds between renewals.
        lasts: Seconds after which one that is not renewed is a dead holder's.

    Raises:
        OutputBusyError: Somebody alive holds it.
        OutputWriteError: It cannot be written; or, at the end, somebody took it over, as from a machine
            that slept.
        StorageError: The store does not answer.
    """
    holder = _Holder(storage, name, what, renewed, lasts)
    holder.take()
    _HELD.append(holder)
    try:
        yield
        check_held(name)
    finally:
        _HELD.remove(holder)
        holder.let_go()


def check_held(name: str) -> None:
    """Find out before a file gets its name whether the lease of its directory is still ours.

    Raises:
        OutputWriteError: Somebody has taken it over.
    """
    for holder in _HELD:
        if holder.lost and name.startswith(holder.directory):
            raise OutputWriteError(
                f"{holder.what} was taken over by another run: this one did not renew its lease in time",
                hint="wait for the other run to end",
            )


class _Holder:
    """A lease and the thread that renews it."""

    def __init__(self, storage: Leases, name: str, what: str, renewed: float, lasts: float) -> None:
        self._storage, self._name, self.what = storage, name, what
        self._renewed, self._lasts = renewed, lasts
        #: The directory that the lease is for: that of its own (``_sentstream/``), and what is beside it.
        self.directory = name.rpartition("/")[0].rpartition("/")[0] + "/"
        self._me = {**_process(), "token": secrets.token_hex(8)}
        self._count = 0
        self._version: Lease | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.lost = False

    def take(self) -> None:
        """Wait until it is ours, or somebody alive has it."""
        seen: Lease | None = None
        since = 0.0
        while True:
            there = self._storage.read_all(self._name)
            if there is not None:
                data, version = there
                about = _parsed(data)
                if about.get("token") == self._me["token"]:  # its answer was lost
                    self._version = version
                    break
                if version != seen:
                    if seen is not None or _is_alive(about):
                        raise self._refused(about)
                    seen, since = version, time.monotonic()
                if not _is_dead(about) and time.monotonic() - since < self._lasts:
                    time.sleep(min(1.0, self._lasts / 10))
                    continue
            self._version = self._storage.write_all(self._name, self._content(), there and there[1])
            if self._version is not None:
                break
            if there is not None:
                seen = {}  # whoever wrote it is alive
        self._thread.start()

    def let_go(self) -> None:
        """Stop renewing it, and remove it if it is ours; where nobody answers, it ends by itself."""
        self._stop.set()
        removing = threading.Thread(target=self._remove, name="lease", daemon=True)
        removing.start()
        removing.join(_AT_THE_END)

    def _remove(self) -> None:
        self._thread.join(seconds_left())
        if self._thread.is_alive():  # it waits for an answer, and the lease ends by itself
            return
        with contextlib.suppress(SentstreamError):  # then it ends by itself
            there = self._storage.read_all(self._name)
            if there is not None and _parsed(there[0]).get("token") == self._me["token"]:
                self._storage.remove(self._name)

    def _content(self) -> bytes:
        self._count += 1
        return json.dumps({**self._me, "what": self.what, "renewal": self._count}).encode()

    def _renew(self) -> None:
        while not self._stop.wait(self._renewed):
            try:
                version = self._storage.write_all(self._name, self._content(), self._version)
                if version is None:  # another's, or ours after an answer that was lost
                    there = self._storage.read_all(self._name)
                    if there is None or _parsed(there[0]).get("token") != self._me["token"]:
                        self.lost = True
                        return
                    version = there[1]
                self._version = version
            except StorageError:
                continue
            except SentstreamError:
                self.lost = True
                return

    def _refused(self, about: dict[str, Any]) -> OutputBusyError:
        who = f"process {about.get('pid')} on {about.get('host')}" if about.get("host") else "another run"
        return OutputBusyError(
            f"{self.what} is being written by {who}", hint="wait for that run to end, or stop it"
        )


#: What this process holds.
_HELD: list[_Holder] = []


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        about = json.loads(data)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _process() -> dict[str, Any]:
    """What tells this process from any other, of this and other machines."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "space": _space(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _is_here(about: dict[str, Any]) -> bool:
    """Whether a holder is or was a process of this machine whose number means the same to us."""
    here = _process()
    return bool(here["boot"]) and all(about.get(key) == here[key] for key in ("boot", "space"))


def _is_alive(about: dict[str, Any]) -> bool:
    return _is_here(about) and not _is_dead(about)


def _is_dead(about: dict[str, Any]) -> bool:
    """Whether a holder is known to be dead."""
    if not _is_here(about) or not isinstance(about.get("pid"), int):
        return False
    started = _started(about["pid"])
    return started is None or started != about.get("started")


def _started(pid: int) -> str | None:
    """When a process of this machine started, in ticks since the boot (proc_pid_stat(5)); None: dead."""
    stat = _text(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split() if stat else []
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else None


def _space() -> str:
    """The namespace of process numbers: those of containers differ."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text("ascii", "replace").strip()
    return ""
