"""Commands of `python -m lungsynth evaluate`."""
