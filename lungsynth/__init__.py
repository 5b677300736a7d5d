"""Synthetic chest X-rays with masks, from text. Synthetic; research only; not for diagnosis."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

RESEARCH_NOTICE = "Synthetic image. Research only. Not for diagnosis."


def __getattr__(name: str) -> Any:
    """Import the autoencoder when first asked for, and make it known to diffusers.

    diffusers takes a checkpoint's custom component only from a module the caller has imported, and
    asks that module for the class and for `ModelMixin`. So `import lungsynth` is all that
    `StableDiffusionPipeline.from_pretrained` needs for a folder, and importing lungsynth stays free of
    torch. From the Hub it fetches only what it knows the library of: that takes
    `from lungsynth import PatchAutoencoderKL`.
    """
    if name in ("PatchAutoencoderKL", "ModelMixin"):
        from lungsynth.model import autoencoder  # deferred: torch and diffusers

        return getattr(autoencoder, name)
    raise AttributeError(f"module 'lungsynth' has no attribute {name!r}")
