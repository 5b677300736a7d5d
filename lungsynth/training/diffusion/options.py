"""Options of a diffusion run."""

from __future__ import annotations

from dataclasses import dataclass

from lungsynth.training.common import LoopOptions


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
