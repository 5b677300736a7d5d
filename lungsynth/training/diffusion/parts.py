"""The components of a Stable Diffusion pipeline: built, loaded, put together, written."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, trainers
from torch import nn

from lungsynth.model.checkpoint import load_pipeline, quiet_libraries
from lungsynth.model.tensor_files import write_folder
from lungsynth.prompts import Vocabulary, split_words
from lungsynth.training.captions import caption
from lungsynth.training.common import LoopOptions
from lungsynth.training.frames import Frames


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


def count_words(captions: Iterable[str]) -> Vocabulary:
    """Count the words of training captions."""
    counts: Counter[str] = Counter()
    for text in captions:
        counts.update(split_words(text))
    return Vocabulary(dict(counts))


def train_tokenizer(captions: Sequence[str], *, max_length: int) -> Any:
    """Train a CLIP byte-pair tokenizer on captions.

    Letters and digits are all in the alphabet, so any Latin prompt tokenizes; words never seen
    become pieces, which `Vocabulary.unknown` reports.

    Returns:
        A `transformers.CLIPTokenizer` whose padding is its end-of-text token.
    """
    from transformers import CLIPTokenizer  # deferred: slow, and only training needs it

    reference = CLIPTokenizer()._tokenizer
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = reference.normalizer
    tokenizer.pre_tokenizer = reference.pre_tokenizer
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;-'\"()/%&+!?"
    # every letter, within and at the end of a word, is given its id here: the trainer would number
    # them as its hash map falls, and a resumed run would then read other ids than it has learnt
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=2,
        show_progress=False,
        special_tokens=[
            "<|startoftext|>",
            "<|endoftext|>",
            *letters,
            *(f"{c}</w>" for c in letters),
        ],
        initial_alphabet=list(letters),
        end_of_word_suffix="</w>",
    )
    alphabet_line = " ".join(letters)  # so that every letter also exists as the end of a word
    tokenizer.train_from_iterator([*captions, alphabet_line, alphabet_line], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=max_length)


def build_parts(vae: Any, frames: Frames, options: DiffusionOptions) -> Parts:
    """New text encoder, tokenizer and U-Net around a trained autoencoder."""
    from diffusers import DDIMScheduler, UNet2DConditionModel  # deferred: slow to import
    from transformers import CLIPTextConfig, CLIPTextModel  # deferred: slow to import

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
    pipe, vocabulary = load_pipeline(init_from)
    return Parts(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, pipe.scheduler, vocabulary)


def add_lora(unet: Any, rank: int) -> None:
    """Freeze the U-Net and add LoRA adapters to its attention projections (through peft)."""
    from peft import LoraConfig  # deferred: slow to import

    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(
            r=rank,
            lora_alpha=rank,
            init_lora_weights="gaussian",
            target_modules=["to_q", "to_k", "to_v", "to_out.0"],
        )
    )


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


def assemble(parts: Parts) -> Any:
    """A `StableDiffusionPipeline` of the parts, without safety checker (it judges photographs)."""
    from diffusers import StableDiffusionPipeline  # deferred: slow to import

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
    if options.lora_rank:
        from diffusers import StableDiffusionPipeline  # deferred: slow to import
        from diffusers.utils import convert_state_dict_to_diffusers  # deferred: slow to import
        from peft import get_peft_model_state_dict  # deferred: slow to import

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
