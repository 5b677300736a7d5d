"""Prompt -> picture, attention maps, mask: the one file that knows the order of the steps.

Prompt -> Drawn -> maps -> probability of each class -> refined mask -> Result
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lungsynth import RESEARCH_NOTICE, __version__
from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, WordError
from lungsynth.masks.chain import run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.quality import overall_trust
from lungsynth.masks.reading import Read, read
from lungsynth.masks.refine import RefineConfig, check_affinity, check_config
from lungsynth.masks.tokens import read_tokens
from lungsynth.model.attention import Captured, word_maps
from lungsynth.model.backbone import embed_prompts, key_weights, network
from lungsynth.model.checkpoint import load_pipeline, resolve, weights_hash
from lungsynth.model.encoder import NearestTrain, load_nearest
from lungsynth.model.precision import resolve_device, resolve_precision
from lungsynth.model.sampling import Drawn, SampleOptions, draw, resolve_size
from lungsynth.prompts import PromptReport, default_words, read_prompt, word_tokens
from lungsynth.trust.parts import MaskParts
from lungsynth.trust.score import Seen


@dataclass(frozen=True)
class Result:
    """Everything made of one prompt and seed."""

    prompt: PromptReport
    seed: int
    image: UInt8Array  # (H, W) grey
    maps: dict[str, FloatArray]  # word -> (H, W) in [0, 1]
    # (classes + 1, H, W), background first, from attention alone; each organ's classes and their
    # background sum to 1
    probability: FloatArray
    coarse: UInt8Array  # (H, W) class ids, of `probability` alone
    mask: UInt8Array  # (H, W) class ids, after every stage of `lungsynth.masks.chain`
    record: dict[str, Any]  # every parameter, hash and score; JSON
    seen: Seen = field(default_factory=Seen)  # what trust knew before the mask


class Synthesizer(MaskParts):
    """A loaded checkpoint that draws pictures with maps and masks.

    Args:
        model: Shipped name, diffusers folder, or Hub id; None for the shipped default.
        lora: LoRA weights to add.
        device: "auto", "cpu", "cuda" …
        classes: Convention of the masks, where the checkpoint has several; see
            `lungsynth.masks.classes.load_classes`.

    One drawing at a time: calls from several threads wait for each other.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        lora: str | None = None,
        device: str = "auto",
        classes: str | None = None,
    ) -> None:
        device = resolve_device(device)
        self.pipe, self.vocabulary = load_pipeline(model, lora=lora)
        folder = Path(resolve(model))
        # records travel: they name a folder, not where it lies on this machine
        self.name = folder.resolve().name if folder.is_dir() else str(model)
        self.lora = Path(lora).resolve().name if lora and Path(lora).exists() else lora
        self.model_hash = weights_hash(str(folder)) if folder.is_dir() else ""
        self.pipe.to(device)
        super().__init__(folder, classes, device)
        if device == "cpu":
            network(self.pipe).to(memory_format=torch.channels_last)
            self.pipe.vae.to(memory_format=torch.channels_last)
        self._lock = threading.RLock()
        self._scheduler = self.pipe.scheduler
        for spec in self.classes:
            if spec.token is not None:
                spec.token.check(network(self.pipe))
        self._keys = key_weights(network(self.pipe))
        # the films it was trained on, where it keeps their features
        self.nearest: NearestTrain | None = load_nearest(folder) if folder.is_dir() else None

    def check(
        self, prompt: str, words: Sequence[str] | None = None
    ) -> tuple[PromptReport, dict[str, tuple[int, ...]]]:
        """Check a prompt and find the tokens of the words to map, before anything is computed."""
        report = read_prompt(prompt, self.pipe.tokenizer, self.vocabulary)
        chosen = list(words) if words is not None else default_words(report.text, self.vocabulary)
        found: dict[str, tuple[int, ...]] = {}
        for word in chosen:
            try:
                found[word] = word_tokens(report.text, word, self.pipe.tokenizer)
            except WordError:
                if words is not None:
                    raise  # asked for by name
        return report, found

    def class_specs(self, report: PromptReport) -> list[ClassSpec]:
        """The checkpoint's classes, or, for a checkpoint without any, the prompt's first word."""
        if self.classes:
            return self.classes
        for word in default_words(report.text, self.vocabulary):
            try:
                word_tokens(report.text, word, self.pipe.tokenizer)
            except WordError:
                continue  # beyond the token limit
            return [ClassSpec(id=1, name=word, word=word, n_parts=2)]
        raise WordError(f"{report.text!r} has no word to read a mask from; name an organ in it.")

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        options: SampleOptions | None = None,
        refine_config: RefineConfig | None = None,
        words: Sequence[str] | None = None,
        batch_size: int = 1,
        on_step: Callable[[int, int, Tensor], bool] | None = None,
        on_capture: Callable[[Captured], None] | None = None,
    ) -> Iterator[Result]:
        """Draw one result per prompt and seed, in order.

        Args:
            prompts: One a picture.
            seeds: Likewise.
            options: How pictures are drawn.
            refine_config: How masks are made.
            words: Words to map; None picks the prompt's content words.
            batch_size: Pictures drawn together.
            on_step: See `lungsynth.model.sampling.draw`.
            on_capture: Likewise, for each batch.

        Raises:
            PromptError, WordError, ShapeError, ConfigError: before anything is drawn.
        """
        options, refine_config = options or SampleOptions(), refine_config or RefineConfig()
        if len(prompts) != len(seeds) or not prompts:
            raise ConfigError(
                f"{len(prompts)} prompts, {len(seeds)} seeds; expected as many, at least 1."
            )
        resolve_size(self.pipe, options)
        # recorded by what it is, not by "auto"
        options = replace(options, precision=resolve_precision(options.precision, self.device))
        check_config(refine_config)
        check_affinity(refine_config, self.affinity_field)
        checked = [self.check(prompt, words) for prompt in prompts]
        for report, _ in checked:
            for spec in self.class_specs(report):
                if spec.token is None:
                    word_tokens(report.text, spec.word or spec.name, self.pipe.tokenizer)
        for start in range(0, len(prompts), batch_size):
            part = checked[start : start + batch_size]
            part_seeds = [int(s) for s in seeds[start : start + batch_size]]
            with self._lock:
                self.pipe.scheduler = self._scheduler
                drawn = draw(
                    self.pipe,
                    [r.text for r, _ in part],
                    part_seeds,
                    options,
                    on_step=on_step,
                    on_capture=on_capture,
                )
                logits = self._class_logits(drawn, part_seeds, options.precision)
            for index, ((report, found), seed) in enumerate(zip(part, part_seeds, strict=True)):
                yield self._finish(
                    drawn, index, report, found, seed, options, refine_config, logits
                )

    def _class_logits(self, drawn: Drawn, seeds: Sequence[int], precision: str) -> Read:
        """Logits of the class tokens, read from the finished pictures.

        The clean latents are noised again to the token's timesteps, with noise of the picture's own
        seed, and passed once through the U-Net without a prompt: the same reading a real film gets.
        """
        reading = embed_prompts(self.pipe, [""]).expand(len(seeds), -1, -1)
        each: list[dict[int, Tensor]] = []
        mean = self.read_tokens(drawn.latents, reading, seeds, precision=precision, each=each)
        return Read(mean, each)

    def read_tokens(
        self,
        latents: Tensor,
        embeddings: Tensor,
        seeds: Sequence[int],
        *,
        precision: str = "fp32",
        each: list[dict[int, Tensor]] | None = None,
    ) -> dict[int, Tensor]:
        """Class id -> (B, H, W) mean logits of its token for scaled latents (B, C, h, w).

        `each`, where given, gets the logits of every timestep appended: how far readings agree says
        how far they can be trusted.
        """
        tokens = {s.id: s.token for s in self.classes if s.token is not None}
        if not tokens:
            return {}
        found = read_tokens(
            self.pipe,
            self._scheduler,
            self._keys,
            tokens,
            latents.to(self.device),
            embeddings.to(self.device),
            seeds,
            precision=precision,
        )
        if each is not None:
            each += found
        return {k: sum((one[k] / len(found) for one in found), torch.zeros(())) for k in tokens}

    def _finish(
        self,
        drawn: Drawn,
        index: int,
        report: PromptReport,
        found: dict[str, tuple[int, ...]],
        seed: int,
        options: SampleOptions,
        config: RefineConfig,
        logits: Read,
    ) -> Result:
        image, captured = drawn.images[index], drawn.captured
        height, width = image.shape
        assert captured is not None

        def heats_of(words: Sequence[tuple[int, ...]]) -> FloatArray:
            heats = word_maps(captured, index, words, height=height, width=width)
            return np.asarray(heats.numpy(), dtype=np.float32)

        maps = dict(zip(found, heats_of(list(found.values())), strict=True))
        specs = self.class_specs(report)
        probability = read(
            specs,
            logits.mean,
            index,
            lambda word: heats_of([word_tokens(report.text, word, self.pipe.tokenizer)])[0],
            config,
        )
        seen = self.seen(logits.each, index, image)
        made = run(probability, image, specs, config, self.aids(image, config, seen=seen))
        for spec, of_class in zip(specs, probability[1:], strict=True):
            if spec.token is not None:
                maps[f"class {spec.name}"] = of_class
        record = {
            "notice": RESEARCH_NOTICE,
            "synthetic": True,
            "prompt": report.text,
            "seed": seed,
            "options": asdict(options) | {"height": height, "width": width},
            "refine": asdict(config),
            "model": self.name,
            "lora": self.lora,
            "model_hash": self.model_hash,
            "code_version": __version__,
            "known_words": list(report.known),
            "unknown_words": list(report.unknown),
            "dropped_text": report.dropped,
            "classes": {str(s.id): s.name for s in specs},
            "convention": specs[0].convention,
            "scores": made.scores,
            "trust": overall_trust(made.scores),
            "ratios": self.measured_ratios(made.mask),
            "stages": made.posterior.stages,
            "nn_train_distance": None
            if self.nearest is None
            else round(float(self.nearest.distances(image[None])[0]), 4),
        }
        return Result(report, seed, image, maps, probability, made.coarse, made.mask, record, seen)
