"""Every parameter of how a mask is made, with its default."""

from __future__ import annotations

from dataclasses import dataclass, field

from lungsynth.masks.crf import CrfConfig


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How a mask is made from a map."""

    method: str = "crf"  # a key of REFINEMENTS
    # "auto" = "otsu" for words and the most probable class for learnt tokens; a key of THRESHOLDS by
    # name sets the level of both. "cross" on words does not threshold first: it searches γ
    threshold: str = "auto"
    label_confidence: float = 0.7  # probability given to a thresholded word map's own side
    student_weight: float = (
        0.9  # share of the student, the last stage before the clean-up; 0 = attention alone
    )
    crf: CrfConfig = field(default_factory=CrfConfig)
    beta: float = 8.0  # β, exponent of the affinities in the walk
    n_steps: int = 256  # t, steps of the walk
    # levels γ tried by "cross"; None = TOKEN_GAMMAS, or WORD_GAMMAS where a class is read from a word
    gammas: tuple[float, ...] | None = None
    fusion_weight: float = 0.5  # w of "cross-product": 1 = CRF alone, 0 = walk alone
    n_rounds: int = 2  # rounds of "cross-mutual"
    clean_up: bool = (
        True  # keep the best parts of each class (as many as it may have), fill their holes
    )
    min_part: float = 0.005  # parts with less probability (share of the image) go, the best stays
    ignore_band: float = 0.0  # 255 in the mask where the top posterior is under 0.5 + this; 0 = off
