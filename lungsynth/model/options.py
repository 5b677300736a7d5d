"""How pictures are drawn: every option with its default and its limits, in one place.

The command line, a release's YAML file, links, the page and its endpoints take them from here. Imports
nothing heavy, so `--help` and a link are read without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_STEPS, MAX_GUIDANCE = 1000, 50.0
"""What a person may ask of their own machine."""

LINK_STEPS, LINK_GUIDANCE = 100, 20.0
"""What a link, or a visitor of the page, may ask of somebody else's."""

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "lcm": "LCMScheduler",
}
"""Short names of diffusers schedulers; "default" keeps the checkpoint's."""


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How pictures are drawn."""

    steps: int = 20  # denoising steps
    guidance: float = 1.5  # classifier-free guidance scale; 1 = off
    # timesteps (low, high), both included, where guidance is on; None = everywhere
    guidance_interval: tuple[float, float] | None = None
    height: int | None = None  # pixels; None = the checkpoint's side
    width: int | None = None  # pixels; None = the checkpoint's side
    scheduler: str = "default"  # a key of SCHEDULERS, or "default"
    precision: str = "auto"  # of the denoising network; see lungsynth.model.precision
    keep_steps: bool = False  # keep the attention of every step
