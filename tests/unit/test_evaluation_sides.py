"""Left ↔ right: prompts, what counts as the asked side, drawing and resuming."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_films import picture
from PIL import Image

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.words.sides import (
    LUNG_IDS,
    Pair,
    changed_side,
    evaluate_sides,
    lung_means,
    side_confusion,
    sides_table,
    swap_contrast,
    swap_share,
)
from lungsynth.evaluation.words.sides_drawing import FINDINGS, given_prompts, side_prompts

LUNGS = np.zeros((64, 64), dtype=np.uint8)
LUNGS[12:52, 6:28] = LUNG_IDS["right"]  # the patient's right lung lies on the picture's left
LUNGS[12:52, 38:58] = LUNG_IDS["left"]


def pair(seed: int, *, left: float = 0, right: float = 0, noise: float = 0) -> Pair:
    """A pair whose pictures brighten the asked lung by so many grey levels."""
    rng = np.random.default_rng(seed)
    normal = picture(seed, pixels=64) // 2 + 30

    def grown(side: str, levels: float) -> np.ndarray:
        out = normal + levels * (LUNGS == LUNG_IDS[side]) + rng.normal(0, noise, normal.shape)
        return out.round().clip(0, 255).astype(np.uint8)

    return Pair(grown("left", left), grown("right", right), normal, LUNGS, "tuberculosis")


def test_prompts_differ_in_the_side_alone() -> None:
    prompts = side_prompts(40)
    assert len({p.left for p in prompts}) == 40
    for p in prompts:
        assert re.sub("left", "right", p.left.lower()) == p.right.lower()
        assert "right" not in p.left.lower() and p.left != p.right
        who = p.left.split(". ")[0]
        assert p.normal == f"{who}. Normal." and p.right.startswith(f"{who}. ")
    assert {p.finding for p in prompts} == {finding for finding, _ in FINDINGS}
    both = [sum(" male" in p.left for p in prompts), sum("female" in p.left for p in prompts)]
    assert both == [20, 20]


def test_fewer_prompts_are_the_first_of_more() -> None:
    assert side_prompts(7) == side_prompts(40)[:7]


def test_given_prompts_go_round() -> None:
    told = given_prompts(["X-ray, {side} effusion", "{side} mass"], "X-ray, normal", 3)
    assert [p.left for p in told] == ["X-ray, left effusion", "left mass", "X-ray, left effusion"]
    assert {p.normal for p in told} == {"X-ray, normal"}
    with pytest.raises(ConfigError, match=r"'effusion': has no \{side\}"):
        given_prompts(["effusion"], "x", 3)


def test_means_are_of_the_patients_sides() -> None:
    values = np.zeros((64, 64))
    values[:, 32:] = 3  # the picture's right half
    assert lung_means(values, LUNGS) == (3.0, 0.0)


def test_contrast_is_what_both_sides_add() -> None:
    assert swap_contrast(pair(0, left=10, right=6)) == pytest.approx(16)
    assert swap_contrast(pair(0, left=-4)) == pytest.approx(-4)


def test_a_change_that_comes_with_either_side_cancels() -> None:
    one = pair(0)
    brighter = Pair(one.left + 20, one.right, one.normal, LUNGS, "x")
    assert swap_contrast(brighter) == pytest.approx(0)
    left_lung = (40 * (LUNGS == 1)).astype(np.uint8)
    biased = Pair(one.left + left_lung, one.right + left_lung, one.normal, LUNGS, "x")
    assert swap_contrast(biased) == pytest.approx(0)
    # but the lung that changed is always the left one: right once in two
    assert side_confusion([biased] * 5, 0)["confusion"] == [[5, 0], [5, 0]]


def test_darker_does_not_count_as_opacity() -> None:
    one = pair(0)
    picture_ = one.normal.copy()
    picture_[LUNGS == LUNG_IDS["left"]] -= 20
    picture_[LUNGS == LUNG_IDS["right"]] += 5
    assert changed_side(picture_, one) == 1


def test_obeyed_reversed_ignored_and_random_sides_are_told_apart() -> None:
    def told(left: float, right: float) -> dict[str, object]:
        return evaluate_sides([pair(i, left=left, right=right, noise=3) for i in range(20)])

    obeyed = told(12, 12)
    assert obeyed["verdict"] == "obeyed more often than chance"
    assert obeyed["swap"]["value"] == 1 and obeyed["swap"]["low"] > 0.8  # type: ignore[index]
    assert obeyed["opacity"]["confusion"] == [[20, 0], [0, 20]]  # type: ignore[index]
    assert told(-12, -12)["verdict"] == "the other side more often than chance"
    chance = told(0, 0)
    assert chance["verdict"] == "not distinguishable from chance" and chance["n_differ"] == 20
    assert chance["swap"]["low"] < 0.5 < chance["swap"]["high"]  # type: ignore[index]
    assert obeyed["clear"]["count"] == 20 and chance["clear"]["count"] == 0  # type: ignore[index]


def test_equal_pictures_are_no_evidence_either_way() -> None:
    report = evaluate_sides([pair(i) for i in range(6)])
    assert (report["n_differ"], report["swap"]["n"]) == (0, 0)
    assert report["verdict"] == "it changes nothing"
    assert (report["swap"]["low"], report["swap"]["high"]) == (0, 1)
    assert report["opacity"]["share"]["value"] == 0.5
    assert report["difference"]["swap"] == 0 and report["difference"]["other_seed"] > 0
    assert "0 of 6 pairs differ" in sides_table(report)


def test_rounding_is_no_difference() -> None:
    one = pair(0)
    nudged = Pair(one.left + 2, one.right, one.normal, LUNGS, "x")
    assert not nudged.differs()
    nudged.left[0, 0] += 1
    assert nudged.differs()


def test_intervals_are_exact() -> None:
    pairs = [pair(i, left=9) for i in range(8)] + [pair(9, left=-9), pair(10, left=-9)]
    share = swap_share(pairs, 0)
    assert (share["count"], share["n"]) == (8, 10)
    # Clopper-Pearson of 8 in 10
    assert (share["low"], share["high"]) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert share["contrast"]["value"] == pytest.approx(0.6 * 9)


def test_pairs_without_two_lungs_are_left_out() -> None:
    lone = pair(0, left=9)
    lone = Pair(
        lone.left, lone.right, lone.normal, np.where(LUNGS == 1, 1, 0).astype(np.uint8), "x"
    )
    report = evaluate_sides([pair(i, left=9) for i in range(5)] + [lone])
    assert (report["n_pairs"], report["n_measured"], report["swap"]["n"]) == (6, 5, 5)
    with pytest.raises(DataError, match=r"0 of 3 pairs show both lungs; need at least 4"):
        evaluate_sides([lone] * 3)


def test_the_table_names_every_measure() -> None:
    table = sides_table(evaluate_sides([pair(i, left=9, right=9, noise=2) for i in range(6)]))
    for words in (
        "6 of 6 pairs differ",
        "swap: asked lung brighter",
        "  swap, tuberculosis",
        "clear: by 5 grey levels or more",
        "Side: obeyed more often than chance (of swap; chance is 50 %)",
        "opacity (rows asked, columns lung that brightened more)",
    ):
        assert words in table


Ran = Callable[..., object]


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Gives every pair of a folder the same two lungs, which random weights do not draw."""

    def give(folder: Path) -> Path:
        for path in folder.glob("*-lungs.png"):
            Image.fromarray(LUNGS).save(path)
        return folder

    return give


def test_the_command_draws_reports_and_resumes(
    run_cli: Ran, checkpoint: Path, tmp_path: Path, chests: Callable[[Path], Path]
) -> None:
    args = [
        "evaluate",
        "sides",
        "--model",
        checkpoint,
        "--steps",
        2,
        "--quiet",
        "--prompt",
        "{side} lung viral pneumonia",
        "--normal-prompt",
        "Chest, normal",
    ]
    out = tmp_path / "sides"
    run_cli(*args, "--pairs", 4, "--out", out)
    chests(out)
    ran = run_cli(*args, "--pairs", 4, "--out", out)
    assert ran.code == 0, ran.err  # type: ignore[attr-defined]
    report = json.loads((out / "sides.json").read_text())
    assert (report["n_pairs"], report["n_measured"], report["steps"]) == (4, 4, 2)
    assert "pairs differ when the side is swapped" in ran.out  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["prompts"]["left"] == "left lung viral pneumonia"
    with Image.open(out / "sides.png") as sheet:
        assert sheet.size[0] == 4 * 192

    kept = {path: path.stat().st_mtime_ns for path in out.glob("*-left.png")}
    (out / "00002-right.png").unlink()
    with (out / "pairs.jsonl").open("a") as records:
        records.write('{"pair": 9, "see')  # a line cut by a kill
    assert run_cli(*args, "--pairs", 5, "--out", out).code == 0  # type: ignore[attr-defined]
    drawn_again = {path.name for path, at in kept.items() if path.stat().st_mtime_ns != at}
    assert drawn_again == {"00002-left.png"}
    assert (out / "00004-left.png").is_file() and (out / "00002-right.png").is_file()
    assert len((out / "pairs.jsonl").read_text().splitlines()) == 5

    mixed = run_cli(*args, "--pairs", 4, "--guidance", 3, "--out", out)
    assert mixed.code == 1  # type: ignore[attr-defined]
    assert "drawn with other settings (options)" in mixed.err  # type: ignore[attr-defined]


def test_lungs_are_those_of_the_normal_picture(checkpoint: Path, tmp_path: Path) -> None:
    from lungsynth.evaluation.words.sides_drawing import draw_pairs, lung_classes
    from lungsynth.model.sampling import SampleOptions
    from lungsynth.pipeline import Synthesizer

    synthesizer = Synthesizer(str(checkpoint))
    assert lung_classes(synthesizer) == {1: LUNG_IDS["left"], 2: LUNG_IDS["right"]}
    prompts = given_prompts(["{side} lung viral pneumonia"], "Chest, normal", 1)
    options = SampleOptions(steps=2)
    (drawn,) = draw_pairs(synthesizer, tmp_path, prompts, options=options, seed=5, quiet=True)
    (alone,) = synthesizer.generate(["Chest, normal"], [5], options=options, words=[])
    assert np.abs(drawn.normal.astype(int) - alone.image).max() <= 1
    assert (drawn.lungs != alone.mask).mean() < 0.01  # ids of this checkpoint are the same
    # each picture is of its own prompt
    (right,) = synthesizer.generate([prompts[0].right], [5], options=options, words=[])
    assert np.abs(drawn.right.astype(int) - right.image).max() <= 1


def test_a_checkpoint_without_lung_classes_is_refused(
    run_cli: Ran, sd_folder: Path, tmp_path: Path
) -> None:
    ran = run_cli(
        "evaluate",
        "sides",
        "--model",
        sd_folder,
        "--out",
        tmp_path / "o",
        "--quiet",
        "--prompt",
        "{side} pneumonia",
    )
    assert ran.code == 1  # type: ignore[attr-defined]
    assert "measured within 'left lung' and 'right lung'" in ran.err  # type: ignore[attr-defined]


def test_words_the_model_never_saw_are_told(checkpoint: Path) -> None:
    from lungsynth.evaluation.words.sides_drawing import unknown_words
    from lungsynth.pipeline import Synthesizer

    prompts = given_prompts(["{side} lung, zebra"], "Chest, normal", 2)
    assert "zebra" in unknown_words(Synthesizer(str(checkpoint)), prompts)
