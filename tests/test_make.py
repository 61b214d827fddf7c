"""The Makefile: what ``make demo`` suggests next works, and ``make wheel`` installs nothing."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

import sentstream

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


def outside() -> dict[str, str]:
    """An environment without sentstream on the path."""
    own = str(Path(sys.executable).parent)
    path = [index for index in os.environ["PATH"].split(os.pathsep) if index != own]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SENTSTREAM_", "MAKE"))}
    return {**kept, "PATH": os.pathsep.join(path)}


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    """What a clone is after the installation of ``make demo``, with the packages of these tests."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "examples", clone / "examples")
    venv.create(clone / ".venv", symlinks=True)
    (packages,) = (clone / ".venv").glob("lib/python3*/site-packages")
    paths = [str(ROOT), str(ROOT / "train"), *site.getsitepackages()]
    (packages / "these.pth").write_text("".join(f"{path}\n" for path in paths))
    script = clone / ".venv/bin/sentstream"
    script.write_text(
        "#!/bin/sh\n"
        f"exec '{clone}/.venv/bin/python' -c 'import sys; from sentstream.cli import main; sys.exit(main())' "
        '"$@"\n'
    )
    script.chmod(0o755)
    stamp = clone / ".venv/installed"
    stamp.touch()
    os.utime(stamp, (time.time() + 1, time.time() + 1))  # newer than what it stands for
    return clone


def shell(line: str, clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-e", "-c", line], cwd=clone, env=outside(), capture_output=True, text=True, check=False
    )


class TestDemo:
    def test_printed_command_works(self, clone: Path) -> None:
        made = shell("make demo", clone)
        assert made.returncode == 0, made.stderr
        direct, activated = (line.partition(": ")[2] for line in made.stdout.splitlines()[-2:])
        assert direct == ".venv/bin/sentstream score FILE.parquet"
        run = shell(direct.replace("FILE", "examples/tweets"), clone)
        assert run.returncode == 0, run.stderr
        assert (clone / "examples/tweets.scored.parquet").exists()
        run = shell(f"{activated}; sentstream --version", clone)
        assert run.returncode == 0, run.stderr
        assert run.stdout.startswith(f"sentstream {sentstream.__version__}\n")

    def test_quickstart_puts_the_command_on_the_path_first(self, clone: Path) -> None:
        text = (ROOT / "README.md").read_text("utf-8").partition("## Quickstart")[2]
        lines = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).splitlines()
        before = lines[: next(index for index, line in enumerate(lines) if line.startswith("sentstream "))]
        run = shell("\n".join([*before, "command -v sentstream"]), clone)
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines()[-1] == str(clone / ".venv/bin/sentstream")


def test_wheel_needs_only_pip() -> None:
    run = subprocess.run(
        ["make", "--dry-run", "--always-make", "wheel"],
        cwd=ROOT,
        env=outside(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install" not in run.stdout
    assert set(re.findall(r"\.venv[\w-]*", run.stdout)) == {".venv-wheel"}
    (build,) = (line for line in run.stdout.splitlines() if "pip wheel" in line)
    assert "--no-deps" in build
    for pins in ("PIP_CONSTRAINT=constraints.txt", "PIP_BUILD_CONSTRAINT=constraints.txt"):
        assert pins in build
