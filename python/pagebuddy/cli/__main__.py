"""Runs the command as ``python -m pagebuddy.cli``."""

import sys

from pagebuddy.cli import main

if __name__ == "__main__":
    sys.exit(main())
