"""Train a latent diffusion model on captions and latents, from scratch or from a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.contact import contact_sheet
from lungsynth.errors import ConfigError
from lungsynth.model.precision import AUTO, rounded
from lungsynth.model.tensor_files import load_tensors, save_tensors, write_folder
from lungsynth.model.vocabulary import Vocabulary, count_words, train_tokenizer
from lungsynth.training.captions import caption
from lungsynth.training.common import LoopOptions, Run, torch_generator
from lungsynth.training.frames import Frames
from lungsynth.training.team import Team
from lungsynth.training.vae import to_unit
from lungsynth.training.words.balance import balanced_weights
from lungsynth.training.words.facts import (
    LatentJudge,
    fact_excess,
    fact_labels,
    stated,
    train_latent_judge,
)
from lungsynth.training.words.grounding import (
    AttentionTap,
    Grounded,
    find_phrases,
    grounding_loss,
    tap_attention,
)


@dataclass(frozen=True, kw_only=True)
class DiffusionOptions(LoopOptions):
    """Options of a diffusion run. The network's are ignored when an existing one is fine-tuned."""

    block_out_channels: tuple[int, ...] = (192, 320)  # U-Net widths; 16x16 and 8x8 for 256 px
    layers_per_block: int = 2
    n_heads: tuple[int, ...] = (8,)  # attention heads at each resolution, or one number for all
    text_width: int = 256  # width of the text encoder
    text_layers: int = 4
    max_length: int = 64  # tokens of a prompt
    caption_dropout: float = 0.1  # share of empty captions, for classifier-free guidance
    min_snr: float = 5.0  # min-SNR-γ loss weight (Hang et al. 2023); 0 = plain
    per_child: int = 2  # framings cut from a child's film
    per_adult: int = 8  # framings cut from an adult's film
    n_vocabulary: int = 60_000  # captions the tokenizer is trained on
    train_text_encoder: bool = True  # False when fine-tuning an existing checkpoint
    max_shard_size: str = "64MB"  # of the fp16 weight files written at the end
    pooled_text: bool = False  # pool the prompt into the time embedding too
    text_lr_ratio: float = 1.0  # learning rate of the text encoder over `lr`
    weight_floor: float = 0.02  # least loss weight of a step, where min-SNR gives less
    balance: str = "age"  # "age" (children and adults alike) or "facts" (training.words.balance)
    per_healthy: int | None = None  # framings of a film of a set that is all healthy
    grounding: float = 0.0  # weight of `training.words.grounding`; needs regions
    facts: float = 0.0  # weight of `training.words.facts`
    facts_until: float = 0.0  # share of the run in which that weight falls to 0; 0 = it stays
    judge_steps: int = 1200  # training steps of the judge of latents
    workers: int = 1  # threads that share a step, see `training.team`; changes its rounding only
    lora_rank: int = 0  # 0 = full fine-tuning; > 0 = LoRA adapters of this rank on the U-Net


@dataclass
class Parts:
    """The components of a Stable Diffusion pipeline."""

    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any  # the sampling scheduler; its config also defines the noise schedule
    vocabulary: Vocabulary | None = None


def draw_captions(frames: Frames, chosen: Sequence[int], rng: np.random.Generator) -> list[str]:
    """One fresh caption for each chosen picture."""
    return [caption(frames.texts[i], frames.fields[i], frames.framing[i], rng) for i in chosen]


def build_parts(vae: Any, frames: Frames, options: DiffusionOptions) -> Parts:
    """New text encoder, tokenizer and U-Net around a trained autoencoder."""
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(options.seed)
    rng = np.random.default_rng((options.seed, 7))
    chosen = rng.choice(len(frames.images), options.n_vocabulary, p=frames.weights)
    captions = draw_captions(frames, chosen.tolist(), rng)
    tokenizer = train_tokenizer(captions, max_length=options.max_length)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.text_width,
            intermediate_size=4 * options.text_width,
            num_hidden_layers=options.text_layers,
            num_attention_heads=max(1, options.text_width // 64),
            projection_dim=options.text_width,
            max_position_embeddings=options.max_length,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    n = len(options.block_out_channels)
    stride = 2 ** (len(vae.config.block_out_channels) - 1)
    unet = UNet2DConditionModel(
        sample_size=vae.config.sample_size // stride,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=options.block_out_channels,
        down_block_types=("CrossAttnDownBlock2D",) * n,
        up_block_types=("CrossAttnUpBlock2D",) * n,
        layers_per_block=options.layers_per_block,
        cross_attention_dim=options.text_width,
        attention_head_dim=options.n_heads if len(options.n_heads) > 1 else options.n_heads[0],
        norm_num_groups=16,
    )
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # without effect on trailing spacing; the pipeline sets it, with a warning
    )
    return Parts(vae, text_encoder, tokenizer, unet, scheduler, count_words(captions))


def learn_words(parts: Parts, frames: Frames, options: DiffusionOptions) -> None:
    """Count the words of the captions that an existing checkpoint will be trained on."""
    rng = np.random.default_rng((options.seed, 7))
    chosen = rng.choice(len(frames.images), options.n_vocabulary, p=frames.weights)
    parts.vocabulary = count_words(draw_captions(frames, chosen.tolist(), rng))


def load_parts(init_from: str) -> Parts:
    """The components of an existing Stable Diffusion 1.x/2.x checkpoint, directory or Hub id."""
    from lungsynth.model.checkpoint import load_pipeline

    pipe, vocabulary = load_pipeline(init_from)
    return Parts(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, pipe.scheduler, vocabulary)


@torch.no_grad()
def encode_frames(
    vae: Any, frames: Frames, cache: Path, *, device: str, quiet: bool, batch: int = 32
) -> Tensor:
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
    for start in tqdm(range(0, len(frames.images), batch), desc="encoding", disable=quiet):
        x = to_unit(frames.images[start : start + batch]).to(device)
        with rounded(device, AUTO):
            mean = vae.encode(x.expand(-1, channels, -1, -1)).latent_dist.mode()
        parts.append((mean.float() * vae.config.scaling_factor).to(torch.float16).cpu())
    latents = torch.cat(parts)
    save_tensors({key: latents}, cache, {"n": str(len(latents))})
    return latents


def add_lora(unet: Any, rank: int) -> None:
    """Freeze the U-Net and add LoRA adapters to its attention projections (through peft)."""
    from peft import LoraConfig

    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(
            r=rank,
            lora_alpha=rank,
            init_lora_weights="gaussian",
            target_modules=["to_q", "to_k", "to_v", "to_out.0"],
        )
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """The pictures of a step, and what is asked of them."""

    x_0: Tensor  # (B, C, h, w) float32, scaled
    eps: Tensor  # likewise, the noise
    t: Tensor  # (B,) timesteps
    ids: Tensor  # (B, tokens) of the captions
    phrases: list[Grounded]  # whose place is known
    labels: Tensor  # (B, facts), see `training.words.facts`
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
        from diffusers import DDPMScheduler

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
        labels = torch.from_numpy(stated(captions, self.labels[chosen])).to(self.device)
        ids = tokens.input_ids.to(self.device)
        return Batch(x_0, eps, t, ids, phrases, labels, self.facts_weight(step))

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
        prediction = self.parts.unet(x_t, t, encoder_hidden_states=hidden).sample
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
        if self.judge is not None and batch.facts_weight > 0:
            guess = self.judge(self.clean(x_t, prediction.float(), t))
            with torch.no_grad():
                truth = self.judge(x_0)
            signal = self.alphas[t].sqrt()
            facts = fact_excess(guess, truth, batch.labels[part], signal, of=batch.labels)
            loss = loss + batch.facts_weight * facts
            numbers["facts"] = float(facts.detach())
        return loss, numbers

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


def add_pooled_text(unet: Any) -> Any:
    """The U-Net with a second path for the words: pooled, and added to the time embedding.

    diffusers builds it from `addition_embed_type="text"`, and plain pipelines call it with what they
    have. Its last layer starts small, so what the U-Net has learnt stays.
    """
    from diffusers import UNet2DConditionModel  # deferred: slow to import

    if unet.config.addition_embed_type == "text":
        return unet
    wider: Any = UNet2DConditionModel.from_config(
        unet.config, addition_embed_type="text", addition_embed_type_num_heads=8
    )
    missing, unexpected = wider.load_state_dict(unet.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("add_embedding.") for name in missing)
    nn.init.constant_(wider.add_embedding.norm2.weight, 0.1)
    return wider


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
    # the fused attention kernel's backward pass is the slower one on CPUs
    tap = tap_attention(parts.unet) if device == "cpu" or options.grounding > 0 else None
    judge = find_judge(latents, frames, out, options, quiet=quiet) if options.facts > 0 else None
    ratio = {"text_encoder": options.text_lr_ratio}
    run = Run(
        out,
        model,
        options,
        {"kind": "diffusion", "n_frames": len(frames.images)},
        lambda name: ratio.get(name.split(".")[0], 1.0),
    )
    loss = DiffusionLoss(parts, frames, latents, options, device, tap, judge)

    def on_sample(step: int) -> dict[str, float]:
        if tap is not None:
            tap.clear()
            tap.wanted = False
        if sample_prompts:
            draw_samples(parts, sample_prompts, out / f"sample_{step:07d}.png", device)
        return {}

    team = Team(options.workers, run.autocast) if options.workers > 1 else None
    done = run.loop(loss, on_sample=on_sample, team=team, quiet=quiet)
    if tap is not None:
        tap.clear()  # what it holds belongs to a graph, and a module with it cannot be copied
    run.ema.copy_to(model)
    save_pipeline(parts, out, options)
    return done


def assemble(parts: Parts) -> Any:
    """A `StableDiffusionPipeline` of the parts, without safety checker (it judges photographs)."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_pipeline(parts: Parts, out: Path, options: DiffusionOptions) -> None:
    """Write `out/pipeline` (diffusers layout, fp16) or, for LoRA, `out/lora`."""
    import copy

    from lungsynth.model.checkpoint import quiet_libraries

    if options.lora_rank:
        from diffusers import StableDiffusionPipeline
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft import get_peft_model_state_dict

        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(parts.unet))
        write_folder(
            out / "lora",
            lambda folder: StableDiffusionPipeline.save_lora_weights(
                folder, unet_lora_layers=layers, safe_serialization=True
            ),
        )
        return
    modules = (parts.vae, parts.text_encoder, parts.tokenizer, parts.unet, parts.scheduler)
    with quiet_libraries():  # they advise against casting to half precision, which is meant here
        half = Parts(
            *(
                copy.deepcopy(m).to("cpu", torch.float16, memory_format=torch.contiguous_format)
                if hasattr(m, "state_dict")
                else m
                for m in modules
            )
        )

    def save(folder: Path) -> None:
        assemble(half).save_pretrained(
            folder, safe_serialization=True, max_shard_size=options.max_shard_size
        )
        for config in folder.glob("*/config.json"):  # a path of this machine says nothing elsewhere
            told = json.loads(config.read_text())
            if told.pop("_name_or_path", None) is not None:
                config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
        if parts.vocabulary is not None:
            parts.vocabulary.save(folder)

    # a tokenizer keeps the padding of its last call, which is no part of the checkpoint
    parts.tokenizer.backend_tokenizer.no_padding()
    parts.tokenizer.backend_tokenizer.no_truncation()
    with quiet_libraries():
        write_folder(out / "pipeline", save)
