"""The picture a drawing is heading for, after a step: decoded x₀, not noise.

A deterministic DDIM step from timestep t to s keeps the predicted x₀ and ε:

    x_t = √ā_t x₀ + √(1 - ā_t) ε,   x_s = √ā_s x₀ + √(1 - ā_s) ε

so two successive latents give x₀ without another pass of the U-Net.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lungsynth.pipeline import Synthesizer

N_PREVIEWS = 5
"""Pictures decoded on the way, beside the first step's; each costs, with its maps, half a step at most."""


class Previewer:
    """Called with the latents (1, C, h, w) after each step, from 1; gives a picture for some of them.

    The first is the noise itself, decoded after step 1; where the sampler does not let the picture
    be foreseen, the others are the latents as they are, too. The model draws with its own
    scheduler.
    """

    def __init__(self, model: Synthesizer, steps: int) -> None:
        self.model, self.steps, self.before = model, steps, None
        every = math.ceil(steps / N_PREVIEWS)
        self.wanted = {step for step in range(1, steps) if step == 1 or (step - 2) % every == 0}

    def __call__(self, step: int, latents: Any) -> Any:
        """(H, W) uint8 picture, or None where none is wanted."""
        from lungsynth.model.sampling import to_grey  # deferred: imports torch

        before, self.before = self.before, latents
        if step not in self.wanted:
            return None
        shown = None
        if before is not None:
            shown = predicted_x0(self.model.pipe.scheduler, step - 1, before, latents)
        shown = latents if shown is None else shown
        vae = self.model.pipe.vae
        decoded = vae.decode(shown.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)
        return to_grey(decoded[0])[0]


def predicted_x0(scheduler: Any, index: int, before: Any, after: Any) -> Any:
    """Latents of the predicted picture; None for a scheduler that tells none, or a step that kept all.

    `before` and `after` are the latents (B, C, h, w) around the step of that index, from 0.
    """
    settings = getattr(scheduler, "config", {})
    if str(settings.get("algorithm_type", "")).endswith("dpmsolver++"):
        return scheduler.model_outputs[-1]  # it works on predictions of x0
    if type(scheduler).__name__ != "DDIMScheduler":
        return None
    t = int(scheduler.timesteps[index])
    s = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    a_t = float(scheduler.alphas_cumprod[t])
    a_s = float(scheduler.alphas_cumprod[s] if s >= 0 else scheduler.final_alpha_cumprod)
    noise_t, noise_s = math.sqrt(max(1 - a_t, 0)), math.sqrt(max(1 - a_s, 0))
    scale = math.sqrt(a_t) * noise_s - math.sqrt(a_s) * noise_t
    if abs(scale) < 1e-6:
        return None
    return (before * noise_s - after * noise_t) / scale
