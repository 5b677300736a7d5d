"""Prompt -> picture, attention maps, mask: the one file that knows the order of the steps.

Prompt -> Drawn -> maps -> probability of each class -> refined mask -> Result
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lungsynth import RESEARCH_NOTICE, __version__
from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, WordError
from lungsynth.masks.affinity import AFFINITY_FOLDER, AffinityNet, affinity_fields, load_affinity
from lungsynth.masks.chain import Aids, Judge, Masked, run
from lungsynth.masks.classes import ClassSpec, RatioSpec, load_classes, load_ratios
from lungsynth.masks.quality import overall_trust, ratio
from lungsynth.masks.reading import read
from lungsynth.masks.refine import RefineConfig, check_affinity, check_config
from lungsynth.masks.registry import needs_affinity
from lungsynth.masks.student import (
    STUDENT_FOLDER,
    StudentMaps,
    StudentNetwork,
    load_student,
    student_maps,
)
from lungsynth.masks.tokens import parse_timesteps, token_logits
from lungsynth.masks.walk import AffinityField
from lungsynth.model.attention import Captured, word_map, word_maps
from lungsynth.model.backbone import (
    embed_prompts,
    key_weights,
    network,
    read_queries,
    reading_noise,
    stride,
)
from lungsynth.model.checkpoint import load_pipeline, resolve, weights_hash
from lungsynth.model.nearest import NearestTrain, load_nearest
from lungsynth.model.precision import resolve_precision, rounded
from lungsynth.model.sampling import (
    Drawn,
    SampleOptions,
    draw,
    resolve_size,
)
from lungsynth.prompts import PromptReport, default_words, read_prompt, word_tokens
from lungsynth.trust.score import (
    TRUST_FOLDER,
    Seen,
    TrustModel,
    film_scores,
    load_trust,
    timestep_agreement,
)


def _judge(
    trust: TrustModel,
    student: StudentMaps | None,
    seen: Seen,
    reading: FloatArray,
    image: UInt8Array,
    specs: Sequence[ClassSpec],
    made: Masked,
) -> dict[str, dict[str, float]]:
    return trust.judge(reading, image, specs, made, student, seen)


class Read(NamedTuple):
    """Class id -> (B, H, W) logits of its token."""

    mean: dict[int, Tensor]
    each: list[dict[int, Tensor]]  # of every timestep and draw


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


class Synthesizer:
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
        self.pipe, self.vocabulary = load_pipeline(model, lora=lora)
        folder = Path(resolve(model))
        # records travel: they name a folder, not where it lies on this machine
        self.name = folder.resolve().name if folder.is_dir() else str(model)
        self.lora = Path(lora).resolve().name if lora and Path(lora).exists() else lora
        self.classes: list[ClassSpec] = load_classes(folder, classes) if folder.is_dir() else []
        self.ratios: list[RatioSpec] = load_ratios(folder, classes) if folder.is_dir() else []
        self.model_hash = weights_hash(str(folder)) if folder.is_dir() else ""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.pipe.to(device)
        except (RuntimeError, AssertionError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"--device {device}: cannot be used ({first}). Try cpu.") from error
        self.device = device
        if device == "cpu":
            network(self.pipe).to(memory_format=torch.channels_last)
            self.pipe.vae.to(memory_format=torch.channels_last)
        self._lock = threading.RLock()
        self._scheduler = self.pipe.scheduler
        for spec in self.classes:
            if spec.token is not None:
                spec.token.check(network(self.pipe))
        self._keys = key_weights(network(self.pipe))
        # (H, W) grey -> its affinities, for the refinements that need them; None without a network
        self.affinity_field: Callable[[UInt8Array], AffinityField] | None = None
        for name in (
            f"{AFFINITY_FOLDER}-{classes}",
            AFFINITY_FOLDER,
        ):  # one of its own, if there is
            if self.affinity_field is None and (folder / name).is_dir():
                self.set_affinity(load_affinity(folder / name))
        self.student: StudentNetwork | None = None
        if (folder / STUDENT_FOLDER).is_dir():
            self.student = load_student(folder / STUDENT_FOLDER).to(device)
        self.trust: TrustModel | None = None
        if (folder / TRUST_FOLDER).is_dir():
            self.trust = load_trust(folder / TRUST_FOLDER)
        # the films it was trained on, where it keeps their features
        self.nearest: NearestTrain | None = load_nearest(folder) if folder.is_dir() else None

    def set_affinity(self, model: AffinityNet | None) -> None:
        """Use this AffinityNet, or none, for the refinements that walk."""
        if model is None:
            self.affinity_field = None
            return
        network = model.to(self.device)
        self.affinity_field = lambda image: affinity_fields(network, image[None])[0]

    def field_for(self, image: UInt8Array, methods: Iterable[str]) -> AffinityField | None:
        """The affinities of an image (H, W), where one of these refinements walks; else None."""
        if self.affinity_field is None or not any(map(needs_affinity, methods)):
            return None
        return self.affinity_field(image)

    def aids(
        self,
        image: UInt8Array,
        config: RefineConfig,
        methods: Iterable[str] = (),
        seen: Seen | None = None,
    ) -> Aids:
        """What the stages of `lungsynth.masks.chain` need of this checkpoint for an image (H, W).

        Args:
            image: (H, W) grey.
            config: Its method and its student's weight decide what is computed.
            methods: Further refinements to be tried.
            seen: What is known of the picture already; None judges no mask.
        """
        affinities = self.field_for(image, [config.method, *methods])
        trust = self.trust if seen is not None else None
        asked = self.student is not None and (config.student_weight > 0 or trust is not None)
        student = student_maps(self.student, image) if self.student is not None and asked else None
        judge: Judge | None = None
        if trust is not None and seen is not None:
            judge = partial(_judge, trust, student, seen)
        return Aids(affinities, student, judge)

    def seen(
        self,
        each: Sequence[dict[int, Tensor]],
        index: int,
        image: UInt8Array,
        *,
        film: float | None = None,
    ) -> Seen:
        """What is known of a picture before its mask is made; nothing where no trust is kept.

        Args:
            each: See `read_tokens`.
            index: Of the picture in the batch.
            image: (H, W) grey.
            film: Score of the film check, where the caller has it.
        """
        if self.trust is None:
            return Seen()
        score = film_scores([image])[0] if film is None else film
        return Seen(timestep_agreement(self.classes, each, index), score)

    def measured_ratios(self, mask: UInt8Array) -> dict[str, float | None]:
        """The ratios its classes name, such as the cardiothoracic, of a mask (H, W) of class ids."""
        ids = {spec.name: spec.id for spec in self.classes}
        return {
            one.name: ratio(mask, [ids[n] for n in one.of], [[ids[n]] for n in one.within])
            for one in self.ratios
        }

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
        told = resolve_precision(options.precision, self.device)  # by which it is recorded
        options = replace(options, precision=told)
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
        specs = [s for s in self.classes if s.token is not None]
        totals: dict[int, Tensor] = {}
        if not specs:
            return totals
        height, width = (n * stride(self.pipe) for n in latents.shape[-2:])
        timesteps = sorted({t for s in specs if s.token for t in parse_timesteps(s.token)})
        latents, embeddings = latents.to(self.device), embeddings.to(self.device)
        with torch.inference_mode():
            for t in timesteps:
                noise = torch.stack(
                    [
                        torch.randn(latents.shape[1:], generator=reading_noise(seed, t))
                        for seed in seeds
                    ]
                ).to(self.device)
                with rounded(self.device, precision):
                    queries = read_queries(
                        network(self.pipe), self._scheduler, latents, embeddings, t=t, noise=noise
                    )
                here: dict[int, Tensor] = {}
                for spec in specs:
                    assert spec.token is not None
                    scores = token_logits(
                        queries, self._keys, spec.token, height=height, width=width
                    )
                    here[spec.id] = scores.cpu()
                    totals[spec.id] = totals.get(spec.id, torch.zeros(())) + scores.cpu() / len(
                        timesteps
                    )
                if each is not None:
                    each.append(here)
        return totals

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
        image = drawn.images[index]
        height, width = image.shape
        assert drawn.captured is not None

        def heat_of(tokens: tuple[int, ...]) -> FloatArray:
            assert drawn.captured is not None
            heat = word_map(drawn.captured, index, tokens, height=height, width=width)
            return np.asarray(heat.numpy(), dtype=np.float32)

        heats = word_maps(
            drawn.captured, index, list(found.values()), height=height, width=width
        ).numpy()
        maps = {word: np.asarray(heats[k], dtype=np.float32) for k, word in enumerate(found)}
        specs = self.class_specs(report)
        probability = read(
            specs,
            logits.mean,
            index,
            lambda word: heat_of(word_tokens(report.text, word, self.pipe.tokenizer)),
            config,
        )
        seen = self.seen(logits.each, index, image)
        made = run(probability, image, specs, config, self.aids(image, config, seen=seen))
        for spec in specs:
            if spec.token is not None:
                maps[f"class {spec.name}"] = probability[1 + specs.index(spec)]
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
