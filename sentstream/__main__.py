"""``python -m sentstream``."""

import sys

from sentstream.cli import main

if __name__ == "__main__":
    sys.exit(main())
