"""What ``--version`` prints: the version, and what it runs on."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PackageNotFoundError

import sentstream
from sentstream.versions import RUNTIMES, installed, python, system

_OTHERS = ("pyarrow", "numpy")


def version_lines() -> list[str]:
    """Return sentstream's version, then facts about this installation; nothing heavy is imported.

    The commit is known if pip installed from a Git address (PEP 610).
    """
    packages = [f"{name} {found}" for name in (*RUNTIMES, *_OTHERS) if (found := installed(name))]
    commit = _commit()
    return [
        f"sentstream {sentstream.__version__}",
        *([f"commit {commit}"] if commit else []),
        f"{python()} on {system()}",
        ", ".join(packages),
    ]


def _commit() -> str | None:
    try:
        origin = json.loads(Distribution.from_name("sentstream").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):  # run from a folder, or written by another program
        return None
    vcs = origin.get("vcs_info", {})
    commit: str | None = vcs.get("commit_id") if isinstance(vcs, dict) else None
    return commit
