"""A drawn picture with what its mask is made from, kept for its visitor: masks are remade from it.

    raw probability -> threshold -> affinity walk -> CRF -> parts kept, holes filled

Drawing takes seconds, this a fraction of one. The walk and the CRF's candidates are kept, since most
sliders move only one of them.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.errors import ConfigError
from lungsynth.images import OKABE_ITO, heat_to_uint8, overlay, png_bytes, slug

if TYPE_CHECKING:
    from lungsynth.classes import ClassSpec
    from lungsynth.pipeline import Result, Synthesizer
    from lungsynth.refine import RefineConfig
    from lungsynth.walk import AffinityField

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

LOW_GAMMA, HIGH_GAMMA = 0.2, 0.8
MAX_GAMMAS = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a mask is made; what is None is the program's default."""

    method: str | None = None  # a refinement
    beta: float | None = None  # β of the walk
    walk_steps: int | None = None
    position_width: float | None = None  # θ_α of the CRF, share of the side
    grey_width: float | None = None  # θ_β, grey levels
    smooth_width: float | None = None  # θ_γ, share of the side
    n_gammas: float = 7  # levels tried by "cross", evenly from 0.2 to 0.8
    ignore_band: float = 0.0

    def config(self, base: RefineConfig) -> RefineConfig:
        """The refinement's own options.

        Raises:
            ConfigError: a value is not valid.
        """
        from lungsynth.refine import check_config

        for name in ("beta", "walk_steps", "position_width", "grey_width", "smooth_width",
                     "n_gammas", "ignore_band"):  # fmt: skip
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and np.isfinite(value)):
                raise ConfigError(f"`{name}` is {str(value)[:40]!r}; expected a number.")
        if not 1 <= self.n_gammas <= MAX_GAMMAS or self.n_gammas % 1:
            raise ConfigError(f"`n_gammas` is {self.n_gammas}; expected 1 to {MAX_GAMMAS}.")
        crf = {"theta_alpha": self.position_width, "theta_beta": self.grey_width,
               "theta_gamma": self.smooth_width}  # fmt: skip
        own = {"method": self.method, "beta": self.beta,
               "n_steps": None if self.walk_steps is None else int(self.walk_steps)}  # fmt: skip
        config = replace(
            base, crf=replace(base.crf, **{k: v for k, v in crf.items() if v is not None}),
            ignore_band=self.ignore_band, **{k: v for k, v in own.items() if v is not None},
        )  # fmt: skip
        if config.method == "cross":
            config = replace(config, gammas=gammas(int(self.n_gammas)))
        check_config(config)
        return config


def gammas(n: int) -> tuple[float, ...]:
    """n levels, evenly from 0.2 to 0.8; 0.5 alone for one."""
    return (
        tuple(float(g) for g in np.linspace(LOW_GAMMA, HIGH_GAMMA, n).round(4)) if n > 1 else (0.5,)
    )


@dataclass(frozen=True, slots=True)
class Region:
    """A class in a mask."""

    name: str
    colour: tuple[int, int, int]  # RGB, 0-255
    area: float  # share of the picture, [0, 1]
    coarse_area: float  # the same before refinement
    n_parts: int  # connected parts
    stability: float  # [0, 1], 1 = a sure border
    trust: float  # [0, 1], low = look at it


@dataclass(slots=True)
class Study:
    """A drawn picture, its maps, and what its mask is made from."""

    prompt: str
    seed: int
    steps: int
    guidance: float
    image: UInt8Array  # (H, W)
    maps: dict[str, UInt8Array]  # word -> (H, W)
    probability: FloatArray  # (classes + 1, H, W)
    specs: list[ClassSpec]
    field: AffinityField | None
    base: RefineConfig  # the program's defaults for this checkpoint
    record: dict[str, Any]
    map_files: dict[str, bytes]  # PNG files of the maps, as the command line writes them
    made: Made | None = None  # the mask as it was last made
    cache: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # last walk, last candidates


@dataclass(frozen=True, slots=True)
class Fusions:
    """The final mask by each of the two fusions, (H, W, 3) over the X-ray."""

    sequential: UInt8Array
    cross: UInt8Array
    gamma: float  # the level "cross" chose


@dataclass(frozen=True, slots=True)
class Made:
    """A mask, and the stages it went through; pictures are (H, W, 3) over the X-ray."""

    config: RefineConfig
    method: str
    mask: UInt8Array  # (H, W) class ids, 255 = ignore
    coarse: UInt8Array
    stages: tuple[tuple[str, UInt8Array], ...]  # title, picture
    regions: tuple[Region, ...]
    ignored: float  # share of the picture
    scores: dict[str, Any]

    @property
    def final(self) -> UInt8Array:
        """The mask over the X-ray."""
        return self.stages[-1][1]


def make_study(model: Synthesizer, result: Result, tuning: Tuning) -> Study:
    """Keep what is needed of a result, and make its mask.

    Raises:
        ConfigError: the tuning is not valid.
    """
    from lungsynth.output import result_files
    from lungsynth.refine import RefineConfig

    files = {k: v for k, v in result_files(result).items() if k.startswith("map_")}
    options = result.record["options"]
    study = Study(
        result.prompt.text, result.seed, int(options["steps"]), float(options["guidance"]),
        result.image, {word: heat_to_uint8(heat) for word, heat in result.maps.items()},
        result.probability, model.class_specs(result.prompt),
        model.affinity_field(result.image) if model.affinity_field else None,
        RefineConfig(), result.record, files,
    )  # fmt: skip
    make(study, tuning)
    return study


def make(study: Study, tuning: Tuning) -> Made:
    """Make the mask of a study anew; it is kept in `study.made`.

    Raises:
        ConfigError: a value is not valid, or a method needs the affinity network that is not there.
    """
    from lungsynth.refine import check_affinity

    config = tuning.config(study.base)
    check_affinity(config, study.field)
    image = study.image
    ids = np.array([0, *(spec.id for spec in study.specs)], dtype=np.uint8)
    after = _posterior(study, config)
    coarse, mask, scores = _finish(study, config, after)
    stages = [("1 Raw probability", _soft(image, study.probability)),
              ("2 Threshold", overlay(image, coarse))]  # fmt: skip
    if study.field is not None:
        used = "" if config.method in NEEDS_WALK else f" (unused by {config.method})"
        walked = _posterior(study, replace(config, method="affinity"))
        stages.append((f"3 Affinity walk{used}", overlay(image, ids[walked.argmax(0)])))
    if config.method not in ("none", "affinity"):
        stages.append((f"{len(stages) + 1} DenseCRF", overlay(image, ids[after.argmax(0)])))
    stages.append((f"{len(stages) + 1} Final", overlay(image, mask)))
    regions = tuple(
        Region(
            spec.name, OKABE_ITO[(spec.id - 1) % len(OKABE_ITO)], float((mask == spec.id).mean()),
            float((coarse == spec.id).mean()), int(scores[spec.name]["parts"]),
            float(scores[spec.name]["stability"]),
            float(scores[spec.name].get("trust", scores[spec.name]["stability"])),
        )
        for spec in study.specs
    )  # fmt: skip
    study.made = Made(config, config.method, mask, coarse, tuple(stages), regions,
                      float((mask == 255).mean()), scores)  # fmt: skip
    return study.made


def fuse(study: Study, tuning: Tuning) -> Fusions | None:
    """The mask by both fusions, whatever the method; None without an affinity network.

    Raises:
        ConfigError: a value is not valid.
    """
    if study.field is None:
        return None
    masks = []
    for method in ("sequential", "cross"):
        config = replace(tuning, method=method).config(study.base)
        masks.append(_finish(study, config, _posterior(study, config))[1])
    pictures = [overlay(study.image, mask) for mask in masks]
    return Fusions(pictures[0], pictures[1], float(study.cache["level"][1]))


NEEDS_WALK = ("affinity", "sequential", "cross", "cross-product", "cross-mutual")


def _finish(
    study: Study, config: RefineConfig, posterior: FloatArray
) -> tuple[UInt8Array, UInt8Array, dict[str, Any]]:
    from lungsynth.pipeline import finish_mask

    return finish_mask(study.probability, study.image, study.specs, config, study.field,
                       posterior=posterior)  # fmt: skip


def _posterior(study: Study, config: RefineConfig) -> FloatArray:
    """What `lungsynth.refine.refine` gives, with the walk and the CRF's results kept."""
    from lungsynth import fusion
    from lungsynth.crf import DenseCrf
    from lungsynth.refine import refine

    def kept(name: str, key: Any, compute: Any) -> Any:
        if name not in study.cache or study.cache[name][0] != key:
            study.cache[name] = (key, compute())
        return study.cache[name][1]

    p, image, network, crf = study.probability, study.image, study.field, config.crf
    if network is None or config.method not in ("affinity", "sequential", "cross"):
        return kept(config.method, config, lambda: refine(p, image, config, network))
    walk = (config.beta, config.n_steps)
    walked = kept(
        "walk", walk, lambda: fusion.affinity(p, network, beta=config.beta, n_steps=config.n_steps)
    )
    if config.method == "affinity":
        return walked
    if config.method == "sequential":
        return kept("sequential", (walk, crf), lambda: DenseCrf(image, len(p), crf)(walked))
    levels = config.gammas or fusion.TOKEN_GAMMAS
    candidates = kept(
        "candidates", (levels, crf), lambda: fusion.propose(p, image, levels, crf=crf)
    )
    # the rule of `fusion.cross`, on what is kept
    scores = [(fusion.agreement(one, walked), -abs(level - 0.5))
              for one, level in zip(candidates, levels, strict=True)]  # fmt: skip
    best = max(range(len(scores)), key=scores.__getitem__)
    study.cache["level"] = (None, levels[best])
    return candidates[best]


def _soft(image: UInt8Array, probability: FloatArray) -> UInt8Array:
    """(H, W, 3): each class's probability as a veil of its colour."""
    out = np.repeat(image[..., None], 3, 2).astype(float)
    for index, heat in enumerate(probability[1:]):
        colour = np.array(OKABE_ITO[index % len(OKABE_ITO)], float)
        alpha = 0.6 * heat[..., None]
        out = out * (1 - alpha) + colour * alpha
    return out.round().astype(np.uint8)


def record_of(study: Study) -> dict[str, Any]:
    """The record of a study with the mask as it is now."""
    assert study.made is not None
    return study.record | {"refine": asdict(study.made.config), "scores": study.made.scores}


def archive(study: Study) -> bytes:
    """A ZIP of every file of a study; the same study and tuning give the same bytes."""
    assert study.made is not None
    record = json.dumps(record_of(study), indent=2, ensure_ascii=False) + "\n"
    files = {
        "image.png": png_bytes(study.image), "coarse.png": png_bytes(study.made.coarse),
        "mask.png": png_bytes(study.made.mask), "overlay.png": png_bytes(study.made.final),
        **study.map_files, "record.json": record.encode(),
    }  # fmt: skip
    return pack(files)


def pack(files: dict[str, bytes]) -> bytes:
    """Files as a ZIP without times; PNG is compressed already, so nothing is compressed again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, data)
    return buffer.getvalue()


def archive_name(study: Study) -> str:
    """A file name that says prompt and seed."""
    return f"lungsynth-{slug(study.prompt)}-seed{study.seed}.zip"


def heat_overlay(study: Study, words: list[str], opacity: float) -> UInt8Array:
    """Maps of one word or several over the X-ray: (H, W, 3) RGB.

    One word is drawn black - purple - orange - yellow; several in one colour each (`word_colours`).

    Args:
        study: The picture.
        words: Of `study.maps`; others are left out.
        opacity: Of a map's greatest value, 0 to 1.

    Raises:
        ConfigError: the opacity is no number from 0 to 1.
    """
    from lungsynth.images import colour_heat

    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ConfigError(f"`opacity` is {str(opacity)[:40]!r}; expected 0 to 1.")
    chosen = [word for word in words if word in study.maps]
    out = np.repeat(study.image[..., None], 3, 2).astype(float)
    heats = np.array([_above_median(study.maps[word] / 255.0) for word in chosen])
    if len(chosen) == 1:
        return colour_heat(heats[0], study.image, opacity=opacity)
    if chosen:
        weights = heats / np.maximum(heats.sum(0), 1e-6)
        colours = np.array([word_colours(chosen)[word] for word in chosen], float)
        blend = np.einsum("khw,kc->hwc", weights, colours)
        alpha = (opacity * heats.max(0) ** 0.7)[..., None]
        out = out * (1 - alpha) + blend * alpha
    return out.round().astype(np.uint8)


def _above_median(heat: NDArray[np.floating]) -> NDArray[np.floating]:
    """A map from its own median (0) to its maximum (1): what is everywhere hides nothing then."""
    middle = float(np.median(heat))
    return np.clip((heat - middle) / max(float(heat.max()) - middle, 1e-6), 0, 1)


def word_colours(words: list[str]) -> dict[str, tuple[int, int, int]]:
    """A colour for each of several words, told apart by colour-blind readers."""
    return {word: OKABE_ITO[index % len(OKABE_ITO)] for index, word in enumerate(words)}
