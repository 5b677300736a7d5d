"""What a step of diffusion training asks: of the noise, of where words look, of what the picture shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.errors import ConfigError
from lungsynth.training.common import torch_generator
from lungsynth.training.diffusion.parts import DiffusionOptions, Parts, draw_captions
from lungsynth.training.frames import Frames
from lungsynth.training.words.facts import LatentJudge, fact_excess, fact_labels, stated
from lungsynth.training.words.grounding import AttentionTap, Grounded, find_phrases, grounding_loss


@dataclass(frozen=True, slots=True)
class Batch:
    """The pictures of a step, and what is asked of them."""

    x_0: Tensor  # (B, C, h, w) float32, scaled
    eps: Tensor  # likewise, the noise
    t: Tensor  # (B,) timesteps
    ids: Tensor  # (B, tokens) of the captions
    phrases: list[Grounded]  # whose place is known
    labels: Tensor | None  # (B, facts), see `training.words.facts`; None where no judge speaks
    facts_weight: float

    def phrases_in(self, part: slice) -> list[Grounded]:
        """Those of some of the pictures, counted from the first of them."""
        start, stop, _ = part.indices(len(self.x_0))
        return [
            replace(one, example=one.example - start)
            for one in self.phrases
            if start <= one.example < stop
        ]


class DiffusionLoss:
    """Loss of one step: `‖prediction - target‖²` weighted by min-SNR-γ.

    The target is ε or v, as the scheduler's `prediction_type` says.
    """

    def __init__(
        self,
        parts: Parts,
        frames: Frames,
        latents: Tensor,
        options: DiffusionOptions,
        device: str,
        tap: AttentionTap | None = None,
        judge: LatentJudge | None = None,
    ) -> None:
        from diffusers import DDPMScheduler  # deferred: slow to import

        self.parts, self.frames, self.latents = parts, frames, latents
        self.options, self.device = options, device
        self.noise = DDPMScheduler.from_config(parts.scheduler.config)
        self.kind = self.noise.config.prediction_type
        if self.kind not in ("epsilon", "v_prediction"):
            raise ConfigError(
                f"prediction_type {self.kind!r} is not trained; use epsilon or v_prediction."
            )
        self.alphas = self.noise.alphas_cumprod.to(device)
        self.tap = tap
        self.judge = judge
        self.labels = fact_labels(frames.fields)

    def tokens(self, captions: list[str]) -> Any:
        """Captions -> `input_ids` (B, tokens) and `offset_mapping`."""
        return self.parts.tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
            return_offsets_mapping=True,
            max_length=self.parts.tokenizer.model_max_length,
        )

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        return self.part(self.prepare(step))

    def prepare(self, step: int) -> Batch:
        """The pictures of a step, noised, and their captions."""
        options = self.options
        rng = np.random.default_rng((options.seed, step))
        chosen = rng.choice(len(self.latents), options.batch_size, p=self.frames.weights)
        captions = draw_captions(self.frames, chosen.tolist(), rng)
        drop = rng.random(options.batch_size) < options.caption_dropout
        captions = ["" if gone else text for gone, text in zip(drop, captions, strict=True)]
        x_0 = self.latents[torch.from_numpy(chosen)].float().to(self.device)
        generator = torch_generator(options.seed, step)
        eps = torch.randn(x_0.shape, generator=generator).to(self.device)
        # stratified timesteps: one from each of B equal intervals, so that every batch covers all
        spread = torch.rand(len(x_0), generator=generator) + torch.arange(len(x_0))
        t = (spread * (self.noise.config.num_train_timesteps / len(x_0))).long().to(self.device)
        tokens = self.tokens(captions)
        phrases: list[Grounded] = []
        if self.tap is not None and options.grounding > 0:
            assert self.frames.regions is not None
            regions = torch.from_numpy(self.frames.regions[chosen]).float() / 255
            phrases = find_phrases(captions, tokens["offset_mapping"].tolist(), regions)
        labels, weight = None, self.facts_weight(step)
        if self.judge is not None and weight > 0:
            labels = torch.from_numpy(stated(captions, self.labels[chosen])).to(self.device)
        return Batch(x_0, eps, t, tokens.input_ids.to(self.device), phrases, labels, weight)

    def part(self, batch: Batch, part: slice = slice(None)) -> tuple[Tensor, dict[str, float]]:
        """The share of a batch's loss that some of its pictures have; the shares add up to the loss."""
        n = len(batch.x_0)
        x_0, eps, t = batch.x_0[part], batch.eps[part], batch.t[part]
        x_t = self.noise.add_noise(x_0, eps, t).contiguous(memory_format=torch.channels_last)
        hidden = self.parts.text_encoder(batch.ids[part])[0]
        phrases = batch.phrases_in(part)
        if self.tap is not None:
            self.tap.clear()
            self.tap.wanted = bool(phrases)
        unet = self.parts.unet
        prediction = unet(x_t.to(unet.dtype), t, encoder_hidden_states=hidden).sample
        v = self.kind == "v_prediction"
        target = self.noise.get_velocity(x_0, eps, t) if v else eps
        per_image = F.mse_loss(prediction.float(), target, reduction="none").flatten(1).mean(1)
        loss = (self.weight(t) * per_image).sum() / n
        numbers = {"mse": float(per_image.sum().detach()) / n}
        if phrases:
            assert self.tap is not None
            share = len(phrases) / len(batch.phrases)
            grounding = share * grounding_loss(self.tap, phrases)
            loss = loss + self.options.grounding * grounding
            numbers["grounding"] = float(grounding.detach())
        if self.judge is not None and batch.labels is not None:
            with self.rounding():
                guess = self.judge(self.clean(x_t, prediction.float(), t))
                with torch.no_grad():
                    truth = self.judge(x_0)
            signal = self.alphas[t].sqrt()
            facts = fact_excess(guess, truth, batch.labels[part], signal, of=batch.labels)
            loss = loss + batch.facts_weight * facts
            numbers["facts"] = float(facts.detach())
        return loss, numbers

    def rounding(self) -> torch.autocast:
        """Rounds the judge, whose weights are float32, as the U-Net is rounded."""
        kind = torch.device(self.device).type
        on = self.parts.unet.dtype == torch.bfloat16 or torch.is_autocast_enabled(kind)
        return torch.autocast(kind, torch.bfloat16, enabled=on, cache_enabled=False)

    def facts_weight(self, step: int) -> float:
        """Weight of the judge's excess at a step: falls in a line to 0 at `facts_until`."""
        options = self.options
        if not options.facts_until:
            return options.facts
        return options.facts * max(0.0, 1 - step / (options.facts_until * options.steps))

    def weight(self, t: Tensor) -> Tensor:
        """(B,) loss weight of each step: min-SNR-γ, at least `weight_floor`."""
        if self.options.min_snr <= 0:
            return torch.ones(len(t), device=self.device)
        snr = self.alphas[t] / (1 - self.alphas[t]).clamp_min(1e-8)
        v = self.kind == "v_prediction"
        weight = snr.clamp_max(self.options.min_snr) / (snr + 1 if v else snr.clamp_min(1e-8))
        # the last step has no signal but must be learnt, and words act where there is little signal
        return weight.clamp_min(self.options.weight_floor) if v else weight

    def clean(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The estimate of x_0 that a prediction implies."""
        alpha = self.alphas[t].sqrt()[:, None, None, None]
        sigma = (1 - self.alphas[t]).sqrt()[:, None, None, None]
        if self.kind == "v_prediction":
            return alpha * x_t - sigma * prediction
        return (x_t - sigma * prediction) / alpha.clamp_min(1e-3)
