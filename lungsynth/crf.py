"""Old address of `lungsynth.masks.crf`, which code on published cards imports."""

from lungsynth.masks.crf import CrfConfig

__all__ = ["CrfConfig"]
