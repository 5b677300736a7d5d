"""Errors a caller can act on. Each message says what was got, what was expected, what to do next."""

from __future__ import annotations


class LungSynthError(Exception):
    """Base of every error lungsynth raises on purpose; the command line prints it as one line."""

    exit_code = 1  # of a command that ends with it


class PromptError(LungSynthError):
    """A prompt is empty, too long, or has no word the model has learnt."""


class WordError(LungSynthError):
    """A word asked for an attention map does not occur where it is looked for."""


class ShapeError(LungSynthError):
    """A size or an array shape does not fit the model or another array."""


class CheckpointError(LungSynthError):
    """A checkpoint is missing, incomplete, corrupt, or in a format that is not loaded (pickle)."""


class DataError(LungSynthError):
    """A data source cannot be read, has no such column, or has no usable row."""


class CaptureError(LungSynthError):
    """Attention was asked for, but no cross-attention layer was found or none ran."""


class MaskError(LungSynthError):
    """A map or mask is flat, not finite, or of another size than its image."""


class OutputError(LungSynthError):
    """The output place cannot be written (permission, full disk, a file in the way)."""


class ConfigError(LungSynthError):
    """Options contradict each other or a training run on disk."""


class WorkerError(LungSynthError):
    """A process or machine that worked for this one died, or failed for an unforeseen reason."""


class MissingDependencyError(LungSynthError):
    """An optional package is not installed; the message names the pip command."""


class HubError(LungSynthError):
    """The Hub refused, or answers in a way that cannot be worked with."""


class AccessError(HubError):
    """No token, a token without the right to write, or somebody else's namespace."""

    exit_code = 3


class TagExistsError(HubError):
    """The tag names another commit already; tags are never moved."""

    exit_code = 4


class UnreachableError(HubError):
    """The Hub is down, too slow, or too busy until the deadline."""

    exit_code = 5


class BranchMovedError(HubError):
    """Somebody else changed the same files of the branch meanwhile."""

    exit_code = 6


class VerificationError(HubError):
    """What the Hub gives back is not what was sent; nothing is tagged."""

    exit_code = 7
