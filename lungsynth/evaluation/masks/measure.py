"""Masks of real films against expert masks: every stage and every rival, film by film.

film -> the model's square -> one reading of the class tokens -> probability of each class
     -> thresholds, refinements -> figures; a map's best global threshold needs all films first,
        so maps wait on disk and memory does not grow with the number of films
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import DataError, MaskError
from lungsynth.evaluation.masks.figures import ALL, Spill, TruthSpec, auroc, side_swapped
from lungsynth.evaluation.masks.measured import (
    RAW,
    STUDENT,
    FilmTruth,
    Measured,
    choose_levels,
    name_stages,
    stage_name,
)
from lungsynth.evaluation.masks.reading import (
    Batch,
    Rival,
    batches,
    check_tokens,
    counted_classes,
    usable_methods,
)
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.masks.chain import Aids, Masked, apply_stages, run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.coarse import THRESHOLDS, coarse_mask
from lungsynth.masks.quality import overall_trust, ratio
from lungsynth.masks.reading import Read, label, no_word, read, split
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.registry import REFINEMENTS
from lungsynth.model.backbone import embed_prompts, encode_images, side_pixels
from lungsynth.pipeline import Synthesizer

BY_VALUE = sorted(set(THRESHOLDS) - {"half"})
"""Thresholds that look at a map's values; a token's argmax is its half."""


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """What is measured, and how films are read."""

    methods: Sequence[str] | None = None  # keys of REFINEMENTS; None is all of them
    counted: Sequence[str] | None = None  # classes of the region "all"; None: the truth's, else all
    rivals: Mapping[str, Rival] = field(default_factory=dict)  # by title
    # its method is the main stage, where it is among `methods`
    config: RefineConfig = field(default_factory=RefineConfig)
    prompt: str = ""  # read with films that have no text
    seed: int = 0  # of the noise
    n_noise: int = 1  # noise draws (seeds `seed`, `seed + 1`, …) whose logits are averaged
    batch: int = 8  # films a pass
    total: int | None = None  # films, for the progress bar
    quiet: bool = False  # no progress bar


def measure(
    synthesizer: Synthesizer,
    films: Iterable[Record],
    truth: TruthSpec,
    spill: Spill,
    options: MeasureOptions | None = None,
) -> Measured:
    """Segment films by the checkpoint's class tokens and compare every stage with expert masks.

    Each batch is encoded once and its tokens are read once, under the noise of the same seed, as
    `lungsynth.segment` does; the refinements of a film share its probability and affinity field.

    Args:
        synthesizer: A checkpoint with class tokens.
        films: Films with masks; read one batch at a time.
        truth: What the mask values mean.
        spill: Where maps wait; open.
        options: See `MeasureOptions`.

    Raises:
        DataError: no class token, no film, or no counted pixel in any mask.
        ConfigError: unknown method or class.
    """
    check_tokens(synthesizer)
    options = options or MeasureOptions()
    work = _Measuring(synthesizer, truth, spill, options)
    with tqdm(
        total=options.total, desc="segmenting", unit="film", disable=options.quiet, mininterval=2
    ) as bar:
        for part in batches(films, options.batch):
            work.add_batch(part)
            bar.update(len(part))
    if not work.out.names:
        raise DataError(
            "There is no film with a mask to measure on; check --split and --mask-column."
        )
    choose_levels(work.out)
    return work.out


class _Measuring:
    """A checkpoint at work, film by film; `out` has the figures."""

    def __init__(
        self, synthesizer: Synthesizer, truth: TruthSpec, spill: Spill, options: MeasureOptions
    ) -> None:
        self.synthesizer, self.options = synthesizer, options
        self.specs, self.pixels = synthesizer.classes, side_pixels(synthesizer.pipe)
        self.chosen = counted_classes(self.specs, truth, options.counted)
        self.config = config = options.config
        self.methods, skipped = usable_methods(
            synthesizer, REFINEMENTS if options.methods is None else options.methods, config
        )
        main = config.method
        if main not in self.methods:
            main = self.methods[-1] if self.methods else ""
        self.has_student = synthesizer.student is not None and config.student_weight > 0
        self.out = Measured(
            spill,
            truth,
            {s.name: s.id for s in self.specs},
            tuple(s.id for s in self.chosen),
            stage_name(replace(config, method=main), student=self.has_student)
            if main
            else f"{RAW}: argmax",
            skipped=skipped,
        )

    def add_batch(self, part: Sequence[Record]) -> None:
        """Read the tokens of some films once, and add every film's figures."""
        options, pipe = self.options, self.synthesizer.pipe
        images = np.stack([whole(r.image, pixels=self.pixels) for r in part])
        texts = [r.text or options.prompt for r in part]
        latents, embeddings = encode_images(pipe, images), embed_prompts(pipe, texts)
        logits: dict[int, Any] = {}
        each: list[dict[int, Any]] = []
        for n in range(options.n_noise):
            found = self.synthesizer.read_tokens(
                latents, embeddings, [options.seed + n] * len(part), each=each
            )
            logits = {k: logits.get(k, 0) + v / options.n_noise for k, v in found.items()}
        batch = Batch(images, texts, latents, options.seed)
        drawn = {name: rival(batch) for name, rival in options.rivals.items()}
        for index, record in enumerate(part):
            theirs = {name: masks[index] for name, masks in drawn.items()}
            self.add_film(record, images[index], Read(logits, each), index, theirs)

    def add_film(
        self,
        record: Record,
        image: UInt8Array,
        reading: Read,
        index: int,
        rivals: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one film: figures of every mask, and its maps to the spill."""
        out, truth = self.out, FilmTruth(self.out, record, self.pixels)
        main = self._add_reading(truth, image, reading, index)
        main = self._add_refined(truth, image, reading, index, main)
        for name, drawn in rivals.items():
            _add_rival(truth, name, drawn)
        for (name, region), heat in truth.maps.items():
            out.auroc.setdefault((name, region), []).append(
                auroc(heat, truth.regions[region], truth.valid)
            )
        if not out.stages:
            name_stages(out, list(truth.maps), list(rivals))
        heats = [
            (np.clip(heat, 0, 1) * 255).round().astype(np.uint8) for heat in truth.maps.values()
        ]
        out.spill.append(np.stack([image, truth.written, main, *heats]))
        out.names.append(record.fields.get("id") or str(len(out.names)))
        out.fields.append(dict(record.fields))
        out.swapped.append(side_swapped(main, out.class_ids))
        self._add_ratios(main, truth.written)

    def _probability(self, reading: Read, index: int, threshold: str) -> FloatArray:
        config = replace(self.config, threshold=threshold)
        return read(self.specs, reading.mean, index, no_word, config)

    def _add_reading(
        self, truth: FilmTruth, image: UInt8Array, reading: Read, index: int
    ) -> UInt8Array:
        """Attention alone, at every threshold; its labels."""
        plain = self._probability(reading, index, "auto")
        for region in truth.regions:
            rows = [1 + k for k, s in enumerate(self.specs) if s.id in truth.ids[region]]
            truth.maps[RAW, region] = plain[rows].sum(0)
        main = label(plain, self.specs)
        truth.add_labels(f"{RAW}: argmax", main)
        for name in BY_VALUE:
            try:
                labels = label(self._probability(reading, index, name), self.specs)
            except MaskError:  # a flat map has no threshold: no mask
                labels = np.zeros_like(image)
            truth.add_labels(f"{RAW}: {name}", labels)
        return main

    def _add_refined(
        self, truth: FilmTruth, image: UInt8Array, reading: Read, index: int, main: UInt8Array
    ) -> UInt8Array:
        """The student alone and every refinement; labels of the main stage."""
        config, out = self.config, self.out
        probability = self._probability(reading, index, config.threshold)
        seen = self.synthesizer.seen(reading.each, index, image)
        aids = self.synthesizer.aids(image, config, self.methods, seen)
        if self.has_student:
            alone = replace(config, method="none", student_weight=1.0, clean_up=False)
            main = run(probability, image, self.specs, alone, aids).mask
            truth.add_labels(STUDENT, main)
        for method in self.methods:
            one = replace(config, method=method)
            for stage, made in _made(probability, image, self.specs, one, aids).items():
                truth.add_labels(stage, made.mask)
                value = overall_trust({s.name: made.scores[s.name] for s in self.chosen})
                out.trust.setdefault(stage, []).append(float("nan") if value is None else value)
                main = made.mask if stage == out.main else main
        return main

    def _add_ratios(self, mask: UInt8Array, written: UInt8Array) -> None:
        """Ratios, ours and the expert's, of those whose classes the truth holds apart."""
        values = {name: value for value, name in self.out.spec.classes.items()}
        ours = self.synthesizer.measured_ratios(mask)
        for one in self.synthesizer.ratios:
            if not {*one.of, *one.within} <= set(values):
                continue
            theirs = ratio(written, [values[n] for n in one.of], [[values[n]] for n in one.within])
            mine, expert = (float("nan") if v is None else v for v in (ours[one.name], theirs))
            self.out.ratios.setdefault(one.name, []).append((mine, expert))


def _made(
    probability: FloatArray,
    image: UInt8Array,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
    aids: Aids,
) -> dict[str, Masked]:
    """Stage -> mask: with the student, where there is one, and by attention and refinement alone."""
    without = apply_stages(probability, image, specs, replace(config, student_weight=0.0), aids)
    kept = split(without.probability, specs)
    found = {}
    has_student = aids.student is not None and config.student_weight > 0
    for student in ([True] if has_student else []) + [False]:
        one = config if student else replace(config, student_weight=0.0)
        found[stage_name(config, student=student)] = run(
            probability, image, specs, one, aids, lambda name, p, own: kept[name]
        )
    return found


def _add_rival(truth: FilmTruth, name: str, drawn: NDArray[Any]) -> None:
    """A rival's mask, or its map at every threshold."""
    if drawn.dtype == bool:
        truth.add(name, ALL, drawn)
        return
    truth.maps[name, ALL] = drawn
    for threshold in BY_VALUE:
        try:
            truth.add(f"{name}: {threshold}", ALL, coarse_mask(drawn, threshold))
        except MaskError:
            truth.add(f"{name}: {threshold}", ALL, np.zeros_like(truth.valid))
