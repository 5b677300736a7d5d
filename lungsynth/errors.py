"""Errors a caller can act on. Each message says what was got, what was expected, what to do next."""

from __future__ import annotations


class LungSynthError(Exception):
    """Base of every error lungsynth raises on purpose; the command line prints it as one line."""


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


class MissingDependencyError(LungSynthError):
    """An optional package is not installed; the message names the pip command."""
