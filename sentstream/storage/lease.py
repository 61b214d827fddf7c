"""A lease: a lock that is an object, which its holder renews; a dead holder's lease expires.

Clocks of machines differ, so timestamps are not compared: whoever wants the lease watches the object, and if
it stays the same for the lease's duration, its holder is dead. On the same machine that is known at once.
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

#: Identifies a version of an object, for conditional writes.
Lease: TypeAlias = "dict[str, str]"

#: Seconds between renewals, and seconds without a renewal after which a lease has expired.
RENEWED, LASTS = 5.0, 30.0
#: Seconds that the end of a run, or Ctrl-C, waits for the lease to be removed.
_AT_THE_END = 5.0


class Leases(Protocol):
    """A store of leases."""

    def read_all(self, name: str) -> tuple[bytes, Lease] | None:
        """Return the content and the version of an object; None if there is none."""

    def write_all(self, name: str, data: bytes, replacing: Lease | None) -> Lease | None:
        """Replace that version of an object, or with None create it; return None if another one is there."""

    def remove(self, name: str) -> None:
        """Remove an object."""


@contextlib.contextmanager
def hold(
    storage: Leases, name: str, description: str, *, renewed: float = RENEWED, lasts: float = LASTS
) -> Iterator[None]:
    """Hold a lease for as long as the block runs.

    Args:
        storage: The store.
        name: The lease object.
        description: The name of the locked resource in messages.
        renewed: Seconds between renewals.
        lasts: Seconds without a renewal after which a lease has expired.

    Raises:
        OutputBusyError: A live process holds it.
        OutputWriteError: The lease cannot be written; or, at the end, another run had taken it over, e.g.
            because this machine was suspended.
        StorageError: The store does not answer.
    """
    holder = _Holder(storage, name, description, renewed, lasts)
    holder.take()
    _HELD.append(holder)
    try:
        yield
        check_held(name)
    finally:
        _HELD.remove(holder)
        holder.release()


def check_held(name: str) -> None:
    """Check, before a file gets its name, that we still hold the lease of its directory.

    Raises:
        OutputWriteError: Another run has taken it over.
    """
    for holder in _HELD:
        if holder.lost and name.startswith(holder.directory):
            raise OutputWriteError(
                f"{holder.what} was taken over by another run: this one did not renew its lease in time",
                hint="wait for the other run to end",
            )


class _Holder:
    """A lease and the thread that renews it."""

    def __init__(self, storage: Leases, name: str, description: str, renewed: float, lasts: float) -> None:
        self._storage, self._name, self.what = storage, name, description
        self._renewed, self._lasts = renewed, lasts
        #: The directory that the lease covers: the parent of the one it is in (``_sentstream/``).
        self.directory = name.rpartition("/")[0].rpartition("/")[0] + "/"
        self._me = {**_process(), "token": secrets.token_hex(8)}
        self._count = 0
        self._version: Lease | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.lost = False

    def take(self) -> None:
        """Acquire the lease, or raise if a live process holds it."""
        seen: Lease | None = None
        since = 0.0
        while True:
            current = self._storage.read_all(self._name)
            if current is not None:
                data, version = current
                lease = _parsed(data)
                if lease.get("token") == self._me["token"]:  # we wrote it, but the response was lost
                    self._version = version
                    break
                if version != seen:
                    if seen is not None or _is_alive(lease):
                        raise self._refused(lease)
                    seen, since = version, time.monotonic()
                if not _is_dead(lease) and time.monotonic() - since < self._lasts:
                    time.sleep(min(1.0, self._lasts / 10))
                    continue
            self._version = self._storage.write_all(self._name, self._content(), current and current[1])
            if self._version is not None:
                break
            if current is not None:
                seen = {}  # it was just renewed, so its holder is alive
        self._thread.start()

    def release(self) -> None:
        """Stop renewing the lease, and remove it if it is ours; if the store is silent, it expires."""
        self._stop.set()
        removing = threading.Thread(target=self._remove, name="lease", daemon=True)
        removing.start()
        removing.join(_AT_THE_END)

    def _remove(self) -> None:
        self._thread.join(seconds_left())
        if self._thread.is_alive():  # waiting for a response; the lease will expire
            return
        with contextlib.suppress(SentstreamError):  # the lease will expire
            current = self._storage.read_all(self._name)
            if current is not None and _parsed(current[0]).get("token") == self._me["token"]:
                self._storage.remove(self._name)

    def _content(self) -> bytes:
        self._count += 1
        return json.dumps({**self._me, "what": self.what, "renewal": self._count}).encode()

    def _renew(self) -> None:
        while not self._stop.wait(self._renewed):
            try:
                version = self._storage.write_all(self._name, self._content(), self._version)
                if version is None:  # taken over, or ours and the response was lost
                    current = self._storage.read_all(self._name)
                    if current is None or _parsed(current[0]).get("token") != self._me["token"]:
                        self.lost = True
                        return
                    version = current[1]
                self._version = version
            except StorageError:
                continue
            except SentstreamError:
                self.lost = True
                return

    def _refused(self, lease: dict[str, Any]) -> OutputBusyError:
        holder = f"process {lease.get('pid')} on {lease.get('host')}" if lease.get("host") else "another run"
        return OutputBusyError(
            f"{self.what} is being written by {holder}", hint="wait for that run to end, or stop it"
        )


#: The leases that this process holds.
_HELD: list[_Holder] = []


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        lease = json.loads(data)
    except ValueError:
        return {}
    return lease if isinstance(lease, dict) else {}


def _process() -> dict[str, Any]:
    """Return what identifies this process among those of all machines."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "space": _space(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _is_here(lease: dict[str, Any]) -> bool:
    """Return whether a holder is or was on this machine, in our PID namespace."""
    current = _process()
    return bool(current["boot"]) and all(lease.get(key) == current[key] for key in ("boot", "space"))


def _is_alive(lease: dict[str, Any]) -> bool:
    return _is_here(lease) and not _is_dead(lease)


def _is_dead(lease: dict[str, Any]) -> bool:
    """Return whether a holder is known to be dead."""
    if not _is_here(lease) or not isinstance(lease.get("pid"), int):
        return False
    started = _started(lease["pid"])
    return started is None or started != lease.get("started")


def _started(pid: int) -> str | None:
    """Return a local process's start time in ticks since boot (proc_pid_stat(5)); None if it is dead."""
    stat = _text(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split() if stat else []
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else None


def _space() -> str:
    """Return the PID namespace: containers have their own."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text("ascii", "replace").strip()
    return ""
