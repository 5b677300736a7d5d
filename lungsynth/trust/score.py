"""One trust: the IoU a mask is likely to have with an expert's, in [0, 1], and nothing else.

    trust = c( b + Σ w_k · (x_k - m_k) / s_k )          of each class; of a mask, the mean of its classes

x are what can be had without the truth (`FEATURES`), shares among them as log-odds, so that 0.97 and 0.99
are told apart as 0.7 and 0.9 are; one that cannot be had (no student, no film check) takes the value m
it has on sound films and so says nothing. w and b are a regression of the IoU's log-odds on films with
expert masks and on pictures that are none, c its calibration (isotonic). `train trust` fits them; a
checkpoint keeps them in `trust/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lungsynth.arrays import BoolArray, FloatArray, UInt8Array
from lungsynth.errors import CheckpointError
from lungsynth.files import write_whole
from lungsynth.masks import quality
from lungsynth.masks.chain import Masked
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.reading import label, no_word, organs, read, split
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.student import StudentMaps
from lungsynth.model.film_check import check_films
from lungsynth.model.tensor_files import load_tensors, save_tensors
from lungsynth.trust.shape import Plausibility, ShapeModel

TRUST_FOLDER = "trust"
CONFIG_NAME, WEIGHTS_NAME = "trust.json", "trust.safetensors"

FEATURES = (
    "student",  # IoU of what attention and what the student alone say
    "refined",  # IoU of what attention alone says and the finished mask
    "stability",  # IoU of the posterior above 0.65 and above 0.35
    "attention_stability",  # the same of attention alone
    "student_stability",  # and of the student alone
    "expected",  # IoU to be expected of the student's mask if its probabilities are right
    "timesteps",  # mean IoU of the readings of each noise level and draw with each other
    "distance",  # how unusual the organ's measures are, see `lungsynth.trust.shape`
    "missed",  # how unusual its shape is
    "film",  # log-odds that the film check gives an upright frontal chest film, within ±4
)

SHARES = FEATURES[:7]
"""Features in [0, 1], of which a fit may take the log-odds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a picture before its mask is made."""

    timesteps: Mapping[str, float] = field(default_factory=dict)  # class name -> `FEATURES` entry
    film: float | None = None  # score of the film check, [0, 1]; None without one


def iou(one: BoolArray, other: BoolArray) -> float:
    """IoU of two regions; 0 where either is empty."""
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 0.0


def log_odds(share: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of shares, which are taken as 0.002 at least and 0.998 at most."""
    inside = np.clip(share, 2e-3, 1 - 2e-3)
    return np.asarray(np.log(inside / (1 - inside)))


def expected_iou(probability: FloatArray, inside: BoolArray) -> float:
    """IoU of a region with the truth, to be expected by a class's probabilities (H, W)."""
    certain = float(probability[inside].sum())
    return certain / max(float(inside.sum()) + float(probability[~inside].sum()), 1e-6)


def timestep_agreement(
    specs: Sequence[ClassSpec], each: Sequence[Mapping[int, Tensor]], index: int
) -> dict[str, float]:
    """Class name -> mean IoU of every pair of readings of one picture.

    Args:
        specs: The classes; those without a token are left out.
        each: Of every noise level and draw: class id -> (B, H, W) logits.
        index: Of the picture in the batch.
    """
    mine = [spec for spec in specs if each and all(spec.id in one for one in each)]
    if not mine or len(each) < 2:
        return {}
    plain = RefineConfig()
    labels = []
    for one in each:
        small = {
            spec.id: F.avg_pool2d(one[spec.id][index][None, None].float(), 4)[0] for spec in mine
        }
        labels.append(label(read(mine, small, 0, no_word, plain), mine))
    return {
        spec.name: float(
            np.mean([iou(a == spec.id, b == spec.id) for a, b in combinations(labels, 2)])
        )
        for spec in mine
    }


def film_scores(images: Sequence[UInt8Array]) -> list[float | None]:
    """Score of the film check of each picture; None where no network of it is there."""
    try:
        return [check.score for check in check_films(images)]
    except CheckpointError:
        return [None] * len(images)


def shape_key(spec: ClassSpec) -> str:
    """Under what an organ's `ShapeModel` is kept."""
    return f"{spec.convention}/{spec.group}"


def plausibilities(
    shapes: Mapping[str, ShapeModel],
    specs: Sequence[ClassSpec],
    mask: UInt8Array,
    image: UInt8Array,
) -> dict[str, Plausibility]:
    """Organ -> how usual its mask is, of the organs whose shape is known."""
    out = {}
    for organ, rows in organs(specs).items():
        mine = [specs[row] for row in rows]
        shape = shapes.get(shape_key(mine[0]))
        names = {spec.output: spec.id for spec in mine}
        if shape is None or set(shape.classes) != set(names):
            continue
        out[organ] = shape.score([mask == names[one] for one in shape.classes], image)
    return out


def features(
    reading: FloatArray,
    specs: Sequence[ClassSpec],
    made: Masked,
    student: StudentMaps | None,
    seen: Seen,
    usual: Mapping[str, Plausibility],
) -> dict[str, dict[str, float]]:
    """Class name -> `FEATURES` that can be had.

    Args:
        reading: (classes + 1, H, W) by attention alone.
        specs: The classes.
        made: The mask, its coarse form and posterior, of the reading's size.
        student: What the student says, or None.
        seen: What is known of the picture.
        usual: From `plausibilities`.
    """
    out: dict[str, dict[str, float]] = {}
    for organ, rows in organs(specs).items():
        mine = [specs[row] for row in rows]
        learnt = student.probability([spec.output for spec in mine]) if student else None
        before, after = (
            split(reading, specs)[organ],
            split(made.posterior.probability, specs)[organ],
        )
        for k, spec in enumerate(mine):
            coarse, mask = before.argmax(0) == 1 + k, made.mask == spec.id
            one = {
                "refined": iou(coarse, mask),
                "stability": quality.stability(after[1 + k]),
                "attention_stability": quality.stability(before[1 + k]),
            }
            if learnt is not None:
                its = learnt.argmax(0) == 1 + k
                one["student"] = iou(coarse, its)
                one["expected"] = expected_iou(learnt[1 + k], its)
                one["student_stability"] = quality.stability(learnt[1 + k])
            if spec.name in seen.timesteps:
                one["timesteps"] = seen.timesteps[spec.name]
            if organ in usual:
                one |= {"distance": usual[organ].distance, "missed": usual[organ].missed}
            if seen.film is not None:
                one["film"] = float(np.clip(log_odds(seen.film), -4, 4))
            out[spec.name] = one
    return {spec.name: out[spec.name] for spec in specs}


@dataclass(frozen=True, slots=True)
class TrustModel:
    """Weights of the module's equation, and the shapes that are usual."""

    weights: Mapping[str, float]  # w, by feature
    middle: Mapping[str, float]  # m
    scale: Mapping[str, float]  # s
    bias: float
    knots: tuple[tuple[float, ...], tuple[float, ...]]  # of c: ascending scores, their trust
    shapes: Mapping[str, ShapeModel]
    info: Mapping[str, Any] = field(default_factory=dict)
    spread: tuple[str, ...] = ()  # features that are taken as log-odds

    def raw(self, one: Mapping[str, float]) -> float:
        """The sum of the equation, before calibration."""
        x = {k: float(log_odds(v)) if k in self.spread else v for k, v in one.items()}
        return self.bias + sum(
            w * (x.get(k, self.middle[k]) - self.middle[k]) / self.scale[k]
            for k, w in self.weights.items()
        )

    def of(self, one: Mapping[str, float]) -> float:
        """Trust of one class by its features, in [0, 1]."""
        return float(np.interp(self.raw(one), *self.knots))

    def judge(
        self,
        reading: FloatArray,
        image: UInt8Array,
        specs: Sequence[ClassSpec],
        made: Masked,
        student: StudentMaps | None,
        seen: Seen,
    ) -> dict[str, dict[str, float]]:
        """Class name -> "trust" and, where its organ's shape is known, "plausibility"; see `features`.

        An empty class has trust 0.
        """
        usual = plausibilities(self.shapes, specs, made.mask, image)
        found = features(reading, specs, made, student, seen, usual)
        out = {}
        for spec in specs:
            empty = not (made.mask == spec.id).any()
            out[spec.name] = {"trust": 0.0 if empty else round(self.of(found[spec.name]), 5)}
            if spec.group in usual:
                out[spec.name]["plausibility"] = round(usual[spec.group].value, 5)
        return out


def save_trust(model: TrustModel, folder: Path) -> None:
    """Write `trust.safetensors` and `trust.json` into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    about = {
        "weights": dict(model.weights),
        "middle": dict(model.middle),
        "scale": dict(model.scale),
        "log_odds": list(model.spread),
        "bias": model.bias,
        "knots": [list(one) for one in model.knots],
        "shapes": {key: list(shape.classes) for key, shape in model.shapes.items()},
        "info": dict(model.info),
    }
    tensors = {
        f"{key}:{name}": value
        for key, shape in model.shapes.items()
        for name, value in shape.tensors().items()
    }
    tensors["bias"] = torch.tensor(model.bias)
    save_tensors(tensors, folder / WEIGHTS_NAME, {"trust": "lungsynth"})
    write_whole(folder / CONFIG_NAME, json.dumps(about, indent=2) + "\n")


def load_trust(folder: Path) -> TrustModel:
    """Read what `save_trust` wrote.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """
    tensors = load_tensors(folder / WEIGHTS_NAME)
    try:
        about = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        shapes = {
            key: ShapeModel.of(
                classes,
                {k.partition(":")[2]: v for k, v in tensors.items() if k.startswith(f"{key}:")},
            )
            for key, classes in about["shapes"].items()
        }
        low, high = (tuple(float(x) for x in one) for one in about["knots"])
        spread = tuple(about.get("log_odds", ()))
        unknown = sorted((set(about["weights"]) | set(spread)) - set(FEATURES))
        if unknown:
            raise ValueError(f"features {unknown}; this version knows {list(FEATURES)}")
        return TrustModel(
            about["weights"],
            about["middle"],
            about["scale"],
            float(about["bias"]),
            (low, high),
            shapes,
            about["info"],
            spread,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: not a trust model ({error}). Fit it again with `train trust`."
        ) from error
