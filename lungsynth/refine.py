"""Old address of `lungsynth.masks.refine`, which code on published cards imports."""

from lungsynth.masks.refine import RefineConfig

__all__ = ["RefineConfig"]
