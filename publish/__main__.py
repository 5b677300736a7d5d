"""`python -m publish`."""

from __future__ import annotations

from publish.cli import main

if __name__ == "__main__":
    main()
