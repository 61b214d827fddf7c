"""Prometheus's tool that checks and tests rules, for the tests.

python -m tools.promtool --fetch          # downloads it, as before the tests
python -m tools.promtool check rules deploy/alerts.yml
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tools.fetched import Unavailable, debian_program


def promtool() -> Path:
    """Return the program: the installed one, else Debian's, in ``build/``.

    Raises:
        Unavailable: There is none here, and Debian's cannot be downloaded.
    """
    installed = shutil.which("promtool")
    return Path(installed) if installed else debian_program("prometheus", "promtool")


def main() -> int:
    """Fetch the program, or run it."""
    arguments = sys.argv[1:]
    try:
        program = promtool()
    except Unavailable as error:
        print(f"no promtool: {error}", file=sys.stderr)
        return int(arguments != ["--fetch"])
    return 0 if arguments == ["--fetch"] else subprocess.run([program, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
