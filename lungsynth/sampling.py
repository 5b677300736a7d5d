"""Old address of `lungsynth.model.sampling`, which code on published cards imports."""

from lungsynth.model.sampling import PRECISIONS, SCHEDULERS, SampleOptions

__all__ = ["PRECISIONS", "SCHEDULERS", "SampleOptions"]
