"""Train a latent diffusion model on captions and latents, from scratch or from a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lungsynth.errors import ConfigError
from lungsynth.images import contact_sheet
from lungsynth.masks.affinity import to_input
from lungsynth.model.precision import AUTO, rounded
from lungsynth.model.tensor_files import load_tensors, save_tensors
from lungsynth.training.common import Run
from lungsynth.training.diffusion.loss import DiffusionLoss
from lungsynth.training.diffusion.parts import (
    DiffusionOptions,
    Parts,
    add_lora,
    add_pooled_text,
    assemble,
    save_pipeline,
)
from lungsynth.training.frames import Frames
from lungsynth.training.team import Team, Twin
from lungsynth.training.words.balance import balanced_weights
from lungsynth.training.words.facts import LatentJudge, fact_labels, train_latent_judge
from lungsynth.training.words.grounding import tap_attention


@torch.no_grad()
def encode_frames(vae: Any, frames: Frames, cache: Path, *, device: str, quiet: bool) -> Tensor:
    """Latents (N, C, h, w) float16 of all pictures, scaled; kept in `cache` and reused from there.

    The cache is bound to the pictures and the autoencoder's weights by a hash.
    """
    digest = hashlib.sha256(frames.images[:: max(1, len(frames.images) // 64)].tobytes())
    digest.update(str(frames.images.shape).encode())
    for name, value in sorted(vae.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    key = f"latents.{digest.hexdigest()[:16]}"
    if cache.is_file():
        held = load_tensors(cache)
        if key in held:
            return held[key]
    vae = vae.to(device, memory_format=torch.channels_last).eval()
    channels = int(vae.config.in_channels)
    parts = []
    for start in tqdm(range(0, len(frames.images), 32), desc="encoding", disable=quiet):
        x = to_input(frames.images[start : start + 32]).to(device)
        with rounded(device, AUTO):
            mean = vae.encode(x.expand(-1, channels, -1, -1)).latent_dist.mode()
        parts.append((mean.float() * vae.config.scaling_factor).to(torch.float16).cpu())
    latents = torch.cat(parts)
    save_tensors({key: latents}, cache, {"n": str(len(latents))})
    return latents


def find_judge(
    latents: Tensor, frames: Frames, out: Path, options: DiffusionOptions, *, quiet: bool
) -> LatentJudge:
    """The judge of latents of a run: read from its folder, or trained and kept there."""
    path = out / "judge.safetensors"
    if path.is_file():
        judge = LatentJudge(latents.shape[1])
        judge.load_state_dict(load_tensors(path))
        return judge.eval().requires_grad_(False)
    judge, accuracy = train_latent_judge(
        latents,
        fact_labels(frames.fields),
        frames.weights,
        [f.get("patient", "") or f.get("id", "") for f in frames.fields],
        steps=options.judge_steps,
        seed=options.seed,
        quiet=quiet,
    )
    save_tensors(judge.state_dict(), path, {k: f"{v:.3f}" for k, v in accuracy.items()})
    (out / "judge.json").write_text(json.dumps(accuracy, indent=2) + "\n")
    return judge


def trained_parts(parts: Parts, options: DiffusionOptions, device: str) -> nn.ModuleDict:
    """Move the parts to the device, add what the options add, and return what is trained."""
    if options.pooled_text:
        torch.manual_seed(options.seed)
        parts.unet = add_pooled_text(parts.unet)
    parts.vae.requires_grad_(False)
    parts.unet.to(device, memory_format=torch.channels_last)
    parts.text_encoder.to(device)
    if options.lora_rank:
        torch.manual_seed(options.seed)
        add_lora(parts.unet, options.lora_rank)
    else:
        parts.unet.requires_grad_(True)  # a loaded checkpoint comes frozen
    trained: dict[str, nn.Module] = {"unet": parts.unet}
    if options.train_text_encoder:
        trained["text_encoder"] = parts.text_encoder
    parts.text_encoder.requires_grad_(options.train_text_encoder)
    return nn.ModuleDict(trained)


def draw_samples(parts: Parts, prompts: Sequence[str], path: Path, device: str) -> None:
    """A contact sheet of one picture a prompt, seeds 0, 1, 2 …"""
    pipe = assemble(parts)
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(i) for i in range(len(prompts))]
    with rounded(device, AUTO):
        pictures = pipe(
            list(prompts), num_inference_steps=20, guidance_scale=1.5, generator=generators
        ).images
    contact_sheet(pictures, list(prompts), n_columns=4).save(path)


def train_diffusion(
    parts: Parts,
    frames: Frames,
    out: Path,
    options: DiffusionOptions,
    *,
    device: str = "cpu",
    quiet: bool = False,
    sample_prompts: Sequence[str] = (),
) -> bool:
    """Train (or resume); a pipeline with EMA weights goes to `out/pipeline`, fp16 safetensors.

    Args:
        parts: Components, new (`build_parts`) or existing (`load_parts`).
        frames: Pictures, framings, texts.
        out: Run folder.
        options: See `DiffusionOptions`.
        device: Where to train.
        quiet: No progress bar.
        sample_prompts: Prompts of the pictures drawn while training.

    Returns:
        True when the run is complete, False when it stopped at `max_minutes`.
    """
    if options.grounding > 0 and frames.regions is None:
        raise ConfigError(
            "A grounding loss needs regions: give --regions-from, a student's folder."
        )
    if options.balance == "facts":
        frames = replace(frames, weights=balanced_weights(frames.fields))
    latents = encode_frames(
        parts.vae, frames, out / "latents.safetensors", device=device, quiet=quiet
    )
    model = trained_parts(parts, options, device)
    judge = find_judge(latents, frames, out, options, quiet=quiet) if options.facts > 0 else None
    ratio = {"text_encoder": options.text_lr_ratio}
    run = Run(
        out,
        model,
        options,
        {"kind": "diffusion", "n_frames": len(frames.images)},
        lambda name: ratio.get(name.split(".")[0], 1.0),
    )
    twin, seen = None, parts
    if device == "cpu" and run.options.precision == "bf16":
        twin = Twin({"unet": parts.unet, "text_encoder": parts.text_encoder})
        seen = replace(
            parts, unet=twin.networks["unet"], text_encoder=twin.networks["text_encoder"]
        )
    # the fused attention kernel's backward pass is the slower one on CPUs
    tap = tap_attention(seen.unet) if device == "cpu" or options.grounding > 0 else None
    loss = DiffusionLoss(seen, frames, latents, options, device, tap, judge)

    def on_sample(step: int) -> dict[str, float]:
        if tap is not None:
            tap.clear()
            tap.wanted = False
        if sample_prompts:
            draw_samples(parts, sample_prompts, out / f"sample_{step:07d}.png", device)
        return {}

    team = Team(options.workers, run.autocast) if options.workers > 1 else None
    done = run.loop(loss, on_sample=on_sample, team=team, twin=twin, quiet=quiet)
    run.ema.copy_to(model)
    save_pipeline(parts, out, options)
    return done
