"""The chain: organs apart, stages by name, and word of what was used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from phantom import phantom

from lungsynth.masks.chain import Aids, apply_stages, run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.reading import join, label, organs, read, split
from lungsynth.masks.refine import REFINEMENTS, RefineConfig
from lungsynth.masks.student import StudentMaps

LUNGS = [
    ClassSpec(1, "left lung", word="l", convention="nlm"),
    ClassSpec(2, "right lung", word="r", convention="nlm"),
]
HEART = ClassSpec(3, "heart", word="h", convention="nlm")
SHAPE = phantom(64, 64)


def no_heat(word: str) -> np.ndarray:
    raise AssertionError(word)


def reading(specs: list[ClassSpec]) -> np.ndarray:
    """Class tokens that see the phantom's lungs, and a heart across their inner borders."""
    y, x = np.mgrid[:64, :64] / 64
    heart = 4 - 80 * ((x - 0.5) ** 2 + (y - 0.55) ** 2)
    logit = np.log(SHAPE.probability[1:] / SHAPE.probability[:1])
    logits = {1: logit[:1], 2: logit[1:], 3: heart[None]}
    tensors = {s.id: torch.from_numpy(logits[s.id]).float() for s in specs}
    return read(specs, tensors, 0, no_heat, RefineConfig())


def student(*outputs: str) -> StudentMaps:
    seed = np.random.default_rng(0)
    return StudentMaps(outputs, seed.normal(0, 3, (len(outputs), 64, 64)).astype(np.float32))


KNOWS = ("nlm/left lung", "nlm/right lung")


def test_sides_of_an_organ_exclude_each_other_and_organs_stand_apart() -> None:
    assert organs([*LUNGS, HEART]) == {"lung": [0, 1], "heart": [2]}
    both = reading([*LUNGS, HEART])
    np.testing.assert_array_equal(both[1:3], reading(LUNGS)[1:])
    parts = split(both, [*LUNGS, HEART])
    for part in parts.values():
        np.testing.assert_allclose(part.sum(0), 1, atol=1e-6)
    np.testing.assert_allclose(join(parts, [*LUNGS, HEART]), both, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    sorted(
        set(REFINEMENTS)
        & {"none", "crf", "affinity", "sequential", "cross", "cross-product", "cross-mutual"}
    ),
)
@pytest.mark.parametrize("band", [0.0, 0.2])
def test_adding_an_organ_changes_no_other_organs_mask(method: str, band: float) -> None:
    field = replace(SHAPE.field, classes=KNOWS)
    aids = Aids(field, student(*KNOWS))
    config = RefineConfig(method=method, ignore_band=band)
    alone = run(reading(LUNGS), SHAPE.image, LUNGS, config, aids)
    for specs in ([*LUNGS, HEART], [LUNGS[0], LUNGS[1], HEART, replace(HEART, id=9, name="aorta")]):
        logits = reading([s for s in specs if s.id != 9])
        if len(specs) == 4:
            logits = np.concatenate([logits, logits[3:]])
        more = run(logits, SHAPE.image, specs, config, aids)
        for spec in LUNGS:
            np.testing.assert_array_equal(more.mask == spec.id, alone.mask == spec.id)
            np.testing.assert_array_equal(more.coarse == spec.id, alone.coarse == spec.id)
            assert more.scores[spec.name] == alone.scores[spec.name]
            assert more.posterior.stages[spec.name] == alone.posterior.stages[spec.name]
    assert (more.mask == 3).any()


def test_a_network_of_lungs_does_not_wipe_out_a_heart() -> None:
    """Its walk would carry the heart away; the CRF refines it, and the record says so."""
    specs = [*LUNGS, HEART]
    aids = Aids(replace(SHAPE.field, classes=KNOWS))
    for method in ("affinity", "sequential", "cross"):
        made = run(reading(specs), SHAPE.image, specs, RefineConfig(method=method), aids)
        crf = run(reading(specs), SHAPE.image, specs, RefineConfig(method="crf"), aids)
        np.testing.assert_array_equal(made.posterior.probability[3], crf.posterior.probability[3])
        told = made.posterior.stages
        assert "walk" in told["left lung"]["used"] and "walk" not in told["heart"]["used"]
        assert "crf" in told["heart"]["used"]
        assert told["heart"]["left_out"]["walk"] == "the AffinityNet was not trained on nlm/heart"
        assert "walk" not in told["left lung"]["left_out"]


def test_a_network_that_does_not_say_is_used_and_noted() -> None:
    made = run(
        reading(LUNGS), SHAPE.image, LUNGS, RefineConfig(method="affinity"), Aids(SHAPE.field)
    )
    told = made.posterior.stages["left lung"]
    assert "walk" in told["used"] and "does not say" in told["note"]


def test_the_student_is_a_stage_for_the_classes_it_knows() -> None:
    specs = [*LUNGS, HEART]
    maps = student(*KNOWS)
    p, config = reading(specs), RefineConfig(method="crf", student_weight=0.25)
    with_it = apply_stages(p, SHAPE.image, specs, config, Aids(student=maps))
    without = apply_stages(p, SHAPE.image, specs, replace(config, student_weight=0.0))
    learnt = maps.probability(KNOWS)
    assert learnt is not None
    expected = 0.75 * split(without.probability, specs)["lung"] + 0.25 * learnt
    np.testing.assert_allclose(split(with_it.probability, specs)["lung"], expected, atol=1e-5)
    np.testing.assert_array_equal(with_it.probability[3], without.probability[3])
    assert with_it.stages["left lung"]["used"] == [
        "reading",
        "threshold",
        "crf",
        "student",
        "clean-up",
    ]
    assert with_it.stages["heart"]["used"] == ["reading", "threshold", "crf", "clean-up"]
    assert with_it.stages["heart"]["left_out"] == {"student": "it has not learnt nlm/heart"}
    none = apply_stages(p, SHAPE.image, specs, config)
    assert none.stages["left lung"]["left_out"] == {"student": "the checkpoint has none"}
    half = apply_stages(p, SHAPE.image, LUNGS, config, Aids(student=student("nlm/left lung")))
    assert half.stages["left lung"]["left_out"] == {"student": "it has not learnt nlm/right lung"}


def test_the_reading_is_attention_whatever_the_student_says() -> None:
    """What maps and stage 1 show does not move with the student."""
    p = reading(LUNGS)
    made = [
        run(p, SHAPE.image, LUNGS, RefineConfig(student_weight=w), Aids(student=student(*KNOWS)))
        for w in (0.0, 1.0)
    ]
    np.testing.assert_array_equal(made[0].coarse, made[1].coarse)
    assert (made[0].mask != made[1].mask).any()
    np.testing.assert_array_equal(made[0].coarse, label(p, LUNGS))


def test_where_two_organs_claim_a_pixel_the_first_has_it() -> None:
    p: Any = np.full((3, 4, 4), 0.9, np.float32)
    p[0] = 0.1
    specs = [replace(HEART, id=5, name="a"), replace(HEART, id=6, name="b")]
    assert (label(p, specs) == 5).all()
    assert (label(p, specs[::-1]) == 6).all()
