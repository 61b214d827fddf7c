"""What a shell completes where options and commands alone do not say it."""

from __future__ import annotations

from pathlib import Path

import sentstream

_MODELS = Path(sentstream.__file__).with_name("models")


def complete_model(incomplete: str) -> list[str]:
    """Names of models that ship and begin so; where there are none, the shell completes paths.

    A look into the directory, since what loads models takes longer to import than people wait for a key.
    """
    names = (path.parent.name for path in _MODELS.glob("*/config.json"))
    return sorted(name for name in names if name.startswith(incomplete))
