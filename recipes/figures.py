"""Figures of many models, kept in a file to which each call adds some."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def add_figures(
    file: Path, about: str, names: Iterable[str], limit: int, measure: Callable[[str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Measure models that have no figures yet; return all figures, in the order of ``names``.

    Args:
        file: The file; each model's figures are added as soon as they are there.
        about: What they depend on, such as a model's version; a file about something else ends the program.
        names: The models.
        limit: Maximum number to measure.
        measure: Makes and measures one.
    """
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if set(known) - {about}:
        sys.exit(f"{file.name} is about {', '.join(known)}; remove it to measure {about}")
    figures = known.setdefault(about, {})
    names = list(names)
    for name in [name for name in names if name not in figures][:limit]:
        figures[name] = measure(name)
        file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {name: figures[name] for name in names if name in figures}
