"""`python -m publish`."""

from __future__ import annotations

import sys

from lungsynth.errors import UnreachableError
from publish.cli import main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as leaving:
        if leaving.code == UnreachableError.exit_code and "publish.hub.limit" in sys.modules:
            sys.modules["publish.hub.limit"].leave_hanging_threads(leaving.code)
        raise
