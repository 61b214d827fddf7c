"""Shell completion of values."""

from __future__ import annotations

from pathlib import Path

import sentstream

_MODELS = Path(sentstream.__file__).with_name("models")


def complete_model(incomplete: str) -> list[str]:
    """Names of shipped models with this prefix; if there are none, the shell completes paths.

    Lists the directory, because importing the code that loads models would be too slow for completion.
    """
    names = (path.parent.name for path in _MODELS.glob("*/config.json"))
    return sorted(name for name in names if name.startswith(incomplete))
