"""Old address of `lungsynth.model.sampling`, which code on published cards imports."""

from lungsynth.model.precision import PRECISIONS
from lungsynth.model.sampling import SCHEDULERS, SampleOptions

__all__ = ["PRECISIONS", "SCHEDULERS", "SampleOptions"]
