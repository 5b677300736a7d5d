"""Entry point of `python -m lungsynth`."""

from lungsynth.cli.main import main

if __name__ == "__main__":
    main()
