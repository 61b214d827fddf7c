"""Fetch programs and files that the tests need and no Python package has, once, into ``build/``."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build"


class Unavailable(Exception):
    """Something is not available here; the message says, in one line, what to install."""


@contextmanager
def locked_once(path: Path) -> Iterator[None]:
    """Let only one process at a time make a file or folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run a command that fetches or builds, and return what it printed.

    Raises:
        Unavailable: It failed; the message ends with its last line.
    """
    done = tried(command, environment, folder)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise Unavailable(f"{command[0]} {command[1]} failed: {last}")
    return done.stdout


def tried(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, even if it fails; standard output and error are combined."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def go(purpose: str) -> str:
    """Return the ``go`` command.

    Args:
        purpose: What it is needed for, for the message.

    Raises:
        Unavailable: There is none.
    """
    found = shutil.which("go")
    if found is None:
        raise Unavailable(f"no Go found to {purpose}: install Go 1.25 or newer")
    return found


def go_program(package: str, purpose: str) -> Path:
    """Return a Go program, built the first time by one process for all.

    Args:
        package: Its package and version, as ``example.org/cmd/name@v1.2.3``.
        purpose: What it is needed for, for the message.

    Raises:
        Unavailable: There is no Go, or it cannot be built.
    """
    name = package.rpartition("/")[2].partition("@")[0]
    program = BUILD / name
    with locked_once(program):
        if not program.exists():
            command = go(purpose)
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                # Build fast: unoptimized, without C and without debug information.
                flags = ["-gcflags=all=-N -l", "-ldflags=-s -w"]
                run([command, "install", *flags, package], {"GOBIN": folder, "CGO_ENABLED": "0"})
                (Path(folder) / name).rename(program)
    return program


def npm_file(folder: str, package: str, below: str, purpose: str) -> Path:
    """Return a file of an npm package, fetched the first time by one process for all.

    Args:
        folder: The folder below ``build/`` that the package goes to.
        package: Its name and version, as ``name@1.2.3``.
        below: The file, below the folder ``node_modules``.
        purpose: What it is needed for, for the message.

    Raises:
        Unavailable: There is no npm, or it cannot fetch it.
    """
    target = BUILD / folder
    file = target / "node_modules" / below
    with locked_once(target):
        if not file.exists():
            npm = shutil.which("npm")
            if npm is None:
                raise Unavailable(f"no npm found to {purpose}: install Node.js 20 or newer")
            quiet = ["--no-fund", "--no-audit", "--no-save", "--ignore-scripts", "--loglevel=error"]
            run([npm, "install", *quiet, "--prefix", str(target), package])
    return file


def debian_program(package: str, name: str) -> Path:
    """Return a program of a Debian package, unpacked the first time by one process for all, not installed.

    Args:
        package: The package.
        name: The program, in the package's ``/usr/bin``.

    Raises:
        Unavailable: This is not Debian, or the package cannot be downloaded.
    """
    program = BUILD / package / "usr" / "bin" / name
    with locked_once(BUILD / package):
        if not program.exists():
            apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
            if apt is None or dpkg is None:
                raise Unavailable(f"no {name} found: Debian has it in the package {package}")
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                download = [apt, "download", "-q", package]
                if tried(download, folder=Path(folder)).returncode:
                    run([apt, "update", "-q"])  # the lists of packages are missing or outdated
                    run(download, folder=Path(folder))
                (archive,) = Path(folder).glob("*.deb")
                unpacked = Path(folder) / package
                run([dpkg, "--extract", str(archive), str(unpacked)])
                unpacked.rename(BUILD / package)
    return program
