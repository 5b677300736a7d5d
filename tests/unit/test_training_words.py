"""What makes words act: balance, regions, grounding, facts, Muon, the pooled path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import film, tiny_checkpoint, tiny_frames

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.films.data import Record
from lungsynth.films.framing import CLOSE_UPS, Framing
from lungsynth.masks.student import Student
from lungsynth.training.captions import describe_place
from lungsynth.training.diffusion.loss import DiffusionLoss
from lungsynth.training.diffusion.parts import (
    DiffusionOptions,
    add_pooled_text,
    build_parts,
    load_parts,
    save_pipeline,
)
from lungsynth.training.diffusion.train import train_diffusion
from lungsynth.training.frames import cut_frames, load_frames, save_frames
from lungsynth.training.muon import Muon, is_matrix, orthogonalise
from lungsynth.training.presets import DIFFUSION_PRESETS, VAE_PRESETS
from lungsynth.training.vae import build
from lungsynth.training.words.balance import CHILDREN, balanced_weights, group_of
from lungsynth.training.words.facts import (
    FACTS,
    UNKNOWN,
    fact_excess,
    fact_labels,
    stated,
    train_latent_judge,
)
from lungsynth.training.words.grounding import (
    AttentionTap,
    Grounded,
    find_phrases,
    grounding_loss,
    tap_attention,
)
from lungsynth.training.words.regions import (
    GRID,
    PLANES,
    Box,
    between,
    box_mask,
    find_places,
    lung_masks,
    place_of,
    read_boxes,
    region_grid,
)

HEALTHY_MAN = {"sex": "M", "view": "PA", "age": "60", "findings": "no finding"}
ILL_WOMAN = {"sex": "F", "view": "AP", "age": "30", "findings": "effusion|pneumonia"}
CHILD = {"age": "1-5", "view": "AP", "label": "viral pneumonia", "findings": "viral pneumonia"}


def test_orthogonalise_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((2, 24, 60), (1, 60, 24)):
        made = orthogonalise(torch.randn(shape) * 7).float()
        assert made.shape == shape
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.5 and values.max() < 1.4


def test_muon_descends_and_leaves_ends_alone() -> None:
    torch.manual_seed(0)
    goal, weight = torch.randn(12, 8), torch.nn.Parameter(torch.zeros(12, 8))
    optimizer = Muon([weight], lr=0.15)
    before = float((weight - goal).detach().square().mean())
    for _ in range(60):
        optimizer.zero_grad()
        (weight - goal).square().mean().backward()
        optimizer.step()
    assert float((weight - goal).detach().square().mean()) < 0.1 * before
    conv = torch.nn.Conv2d(4, 4, 3)
    assert is_matrix("unet.mid_block.conv1.weight", conv.weight)
    assert not is_matrix("unet.conv_in.weight", conv.weight)
    assert not is_matrix("unet.mid_block.conv1.bias", conv.bias)  # type: ignore[arg-type]


def test_balance_raises_what_is_rare() -> None:
    fields = [HEALTHY_MAN] * 90 + [ILL_WOMAN] * 4 + [CHILD] * 50
    weights = balanced_weights(fields)
    assert weights.sum() == pytest.approx(1)
    children = weights[94:].sum()
    assert children == pytest.approx(CHILDREN / (CHILDREN + 0.40 + 0.27))
    assert weights[91] > 10 * weights[0]
    assert group_of({**ILL_WOMAN, "place": "right lower"}) == "boxed"
    assert group_of({"label": "tuberculosis", "age": "30"}) == "tuberculosis"


def test_between_fills_the_lower_gap_only() -> None:
    right, left = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    right[5:35, 4:14], left[5:35, 26:36] = True, True
    heart = between(right, left)
    assert not heart[:18].any() and heart[20:34, 14:26].all()
    assert not (heart & (right | left)).any()
    assert not between(right, np.zeros_like(left)).any()


def test_places_of_boxes_have_the_patients_side() -> None:
    lungs = np.zeros((3, 100, 100), np.uint8)
    lungs[1, 10:90, 5:45], lungs[0, 10:90, 55:95] = 255, 255
    low_right = Box("pneumonia", 0.1, 0.7, 0.3, 0.85)  # on the left of the picture
    high_left = Box("pneumonia", 0.6, 0.12, 0.9, 0.3)
    assert place_of([low_right], lungs) == "right lower"
    assert place_of([high_left], lungs) == "left upper"
    assert place_of([low_right, high_left], lungs) == "bilateral"
    rng = np.random.default_rng(0)
    said = {describe_place("right lower", "pneumonia", rng) for _ in range(60)}
    assert all("right" in s and "left" not in s for s in said)
    assert any("lower" in s for s in said)


def test_boxes_become_masks_and_grids_that_follow_the_framing() -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": "a",
            "finding": "pneumonia",
            "box": [50.0, 0.0, 100.0, 50.0],
            "width": 100,
            "height": 100,
        }
    ]
    (box,) = read_boxes(rows)["a"]
    mask = box_mask([box], 200, 200)
    assert mask[:100, 100:].all() and not mask[100:].any() and not mask[:, :100].any()
    grid = region_grid(mask[None], Framing("whole chest", 0.5, 0.5, 1.0))
    assert grid.shape == (1, GRID, GRID)
    assert (grid[0, :8, 8:] == 255).all() and grid[0, 8:].max() == 0
    closer = region_grid(mask[None], Framing("left lung", *CLOSE_UPS["left lung"]))
    assert closer.mean() > grid.mean()


def test_lung_masks_lie_on_the_film() -> None:
    torch.manual_seed(0)
    student = Student(["nlm/left lung", "nlm/right lung"]).eval()
    image, _ = film(0, height=80, width=120)
    masks = lung_masks(student, image)
    assert masks.shape == (3, 80, 120) and masks.dtype == np.uint8
    assert masks[:2].any() and (masks[0].astype(int) + masks[1]).max() <= 300  # never both
    places = find_places(student, {"f": [Box("lung opacity", 0.1, 0.1, 0.3, 0.3)]})
    planes, place = places(Record(image, "", None, {"id": "f"}))
    assert planes.shape == (len(PLANES), 80, 120) and planes[3].any() and place
    assert places(Record(image, "", None, {"id": "other"}))[1] == ""


def spans(text: str) -> list[tuple[int, int]]:
    out, at = [(0, 0)], 0
    for word in text.split(" "):
        out.append((at, at + len(word)))
        at += len(word) + 1
    return [*out, (0, 0)]


def test_phrases_are_found_with_their_region_and_not_when_negated() -> None:
    texts = ["man with left lung and heart", "no pneumonia and clear lungs", "pneumonia of a man"]
    regions = torch.zeros(3, len(PLANES), GRID, GRID)
    for k in range(len(PLANES)):
        regions[:, k, k * 4 : k * 4 + 4] = 1
    found = find_phrases(texts, [spans(t) for t in texts], regions)
    by_example: dict[int, list[Grounded]] = {}
    for one in found:
        by_example.setdefault(one.example, []).append(one)
    assert [p.tokens for p in by_example[0]] == [(3, 4), (6,)]
    assert torch.equal(by_example[0][0].region, regions[0, 0])
    assert [p.tokens for p in by_example[1]] == [(5,)]  # the lungs, not the pneumonia
    assert torch.equal(by_example[1][0].region, regions[1, :2].sum(0))
    assert [p.tokens for p in by_example[2]] == [(1,)]
    assert find_phrases(texts, [spans(t) for t in texts], torch.zeros_like(regions)) == []


def test_grounding_loss_falls_as_attention_moves_into_the_region() -> None:
    region = torch.zeros(GRID, GRID)
    region[:8] = 1
    phrase = [Grounded(0, (1,), region)]

    def loss(inside: float, outside: float) -> float:
        heat = (region * inside + (1 - region) * outside).flatten()
        tap = AttentionTap()
        tap.take(torch.stack([1 - heat, heat], 1)[None, None])
        return float(grounding_loss(tap, phrase))

    assert loss(0.9, 0.0) < 0.01 < loss(0.5, 0.2) < loss(0.3, 0.3) < loss(0.0, 0.5)
    assert loss(0.1, 0.0) < 0.01  # its strength is free


def test_tapped_attention_computes_what_diffusers_does() -> None:
    from diffusers.models.attention_processor import AttnProcessor

    torch.manual_seed(0)
    options = DIFFUSION_PRESETS["tiny"]
    frames = tiny_frames()
    unet = build_parts(build(VAE_PRESETS["tiny"], frames), frames, options).unet.eval()
    x, hidden = torch.randn(2, unet.config.in_channels, 8, 8), torch.randn(2, 32, 32)
    with torch.inference_mode():
        unet.set_attn_processor(AttnProcessor())
        plain = unet(x, 5, encoder_hidden_states=hidden).sample
        tap = tap_attention(unet)
        tapped = unet(x, 5, encoder_hidden_states=hidden).sample
    assert torch.allclose(plain, tapped, atol=1e-5)
    assert set(tap.maps) == {64, 16}
    assert torch.allclose(tap.maps[64][0].sum(-1), torch.ones(2, 64), atol=1e-5)


def test_fact_labels_and_what_a_caption_states() -> None:
    labels = fact_labels([HEALTHY_MAN, ILL_WOMAN, CHILD])
    names = list(FACTS)
    assert labels[0].tolist() == [0, 0, 3, 0, UNKNOWN]
    assert labels[1, names.index("finding")] == FACTS["finding"].index("pneumonia")
    assert labels[2].tolist() == [UNKNOWN, UNKNOWN, 0, UNKNOWN, 2]
    said = stated(["60-year-old woman, chest film", "", "PA view, healthy"], labels)
    assert said[0, 0] == 0 and said[0, 1] == UNKNOWN and said[0, 2] == 3
    assert (said[1] == UNKNOWN).all()


def test_estimates_are_pushed_no_further_than_their_film_goes() -> None:
    sure, unsure = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.0]], requires_grad=True)
    others = [torch.zeros(1, len(classes)) for classes in list(FACTS.values())[1:]]
    labels = torch.full((1, len(FACTS)), UNKNOWN)
    labels[0, 0] = 0
    pushed = fact_excess([unsure, *others], [sure, *others], labels)
    pushed.backward()
    assert pushed > 0 and unsure.grad is not None and unsure.grad[0, 0] < 0
    assert fact_excess([sure, *others], [unsure, *others], labels) == 0
    half = fact_excess([unsure, *others], [sure, *others], labels, torch.tensor([0.5]))
    assert torch.isclose(half, pushed / 2)
    assert fact_excess([unsure, *others], [sure, *others], labels.fill_(UNKNOWN)) == 0


def test_the_judges_voice_fades_where_a_run_says_so() -> None:
    voice = object.__new__(DiffusionLoss)
    voice.options = DiffusionOptions(steps=100, facts=0.01)
    assert voice.facts_weight(0) == voice.facts_weight(99) == 0.01
    voice.options = DiffusionOptions(steps=100, facts=0.01, facts_until=0.8)
    weights = [voice.facts_weight(step) for step in (0, 40, 80, 99)]
    assert weights == pytest.approx([0.01, 0.005, 0, 0])


def test_latent_judge_learns_and_is_tested_on_other_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lungsynth.training.words.facts.BATCH", 32)
    rng = np.random.default_rng(0)
    latents = torch.randn(300, 4, 8, 8)
    sex = rng.integers(0, 2, 300)
    latents[:, 0] += torch.from_numpy(2.0 * sex - 1)[:, None, None]
    labels = np.full((300, len(FACTS)), UNKNOWN)
    labels[:, 0] = sex
    judge, accuracy = train_latent_judge(
        latents,
        labels,
        np.full(300, 1 / 300),
        [str(i) for i in range(300)],
        steps=60,
        quiet=True,
    )
    assert accuracy["sex"] > 0.9 and np.isnan(accuracy["view"])
    assert not any(p.requires_grad for p in judge.parameters())


def test_frames_come_back_from_disk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    places = find_places(Student(["nlm/left lung", "nlm/right lung"]).eval(), {})
    records = [Record(film(i)[0], f"film {i}", None, HEALTHY_MAN) for i in range(3)]
    frames = cut_frames(records, pixels=64, per_adult=2, places=places, quiet=True)
    assert frames.regions is not None and frames.regions.shape == (6, len(PLANES), GRID, GRID)
    save_frames(frames, tmp_path / "frames.safetensors")
    again = load_frames(tmp_path / "frames.safetensors")
    assert np.array_equal(again.images, frames.images) and again.fields == frames.fields
    assert again.regions is not None and np.array_equal(again.regions, frames.regions)
    with pytest.raises(CheckpointError):
        load_frames(tmp_path / "absent.safetensors")


def test_pooled_text_keeps_what_was_learnt_and_hears_the_prompt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = DIFFUSION_PRESETS["tiny"]
    frames = tiny_frames()
    parts = build_parts(build(VAE_PRESETS["tiny"], frames), frames, options)
    wider = add_pooled_text(parts.unet)
    assert add_pooled_text(wider) is wider
    same = {k: torch.equal(v, wider.state_dict()[k]) for k, v in parts.unet.state_dict().items()}
    assert all(same.values())
    parts.unet = wider
    from lungsynth.training.diffusion.parts import assemble

    assemble(parts).save_pretrained(tmp_path / "pipeline")
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, wider.config.in_channels, 8, 8)
    drawn = [
        pipe(text, latents=noise, num_inference_steps=2, output_type="latent").images
        for text in ("a man", "a woman")
    ]
    assert not torch.equal(*drawn)


def test_a_saved_pipeline_names_no_path_of_its_machine(tmp_path: Path) -> None:
    first = tiny_checkpoint(tmp_path / "first")
    save_pipeline(load_parts(str(first)), tmp_path / "second", DIFFUSION_PRESETS["tiny"])
    configs = sorted((tmp_path / "second" / "pipeline").glob("*/*.json"))
    assert len(configs) >= 4
    assert not [c for c in configs if str(tmp_path) in c.read_text()]


def test_all_terms_train_and_resume(tmp_path: Path) -> None:
    torch.manual_seed(0)
    places = find_places(Student(["nlm/left lung", "nlm/right lung"]).eval(), {})
    rows = [HEALTHY_MAN, ILL_WOMAN, CHILD]
    records = [
        Record(film(i)[0], f"film {i}", None, {**rows[i % 3], "patient": str(i)}) for i in range(12)
    ]
    frames = cut_frames(records, pixels=64, per_child=1, per_adult=1, places=places, quiet=True)
    options = replace(
        DIFFUSION_PRESETS["tiny"],
        optimizer="muon",
        decay="constant",
        pooled_text=True,
        balance="facts",
        grounding=0.1,
        facts=0.1,
        judge_steps=3,
        log_every=1,
    )
    vae = build(VAE_PRESETS["tiny"], frames).eval()

    def train(out: Path, options: Any) -> bool:
        return train_diffusion(build_parts(vae, frames, options), frames, out, options, quiet=True)

    assert train(tmp_path / "whole", options)
    for _ in range(4):
        train(tmp_path / "cut", replace(options, max_minutes=1e-9))
    text = (tmp_path / "cut" / "metrics.jsonl").read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if "loss" in line]
    assert len(lines) == options.steps
    assert all({"mse", "facts"} <= set(line) for line in lines)
    from lungsynth.model.tensor_files import load_tensors

    one, two = (load_tensors(tmp_path / k / "state.safetensors") for k in ("whole", "cut"))
    assert any("momentum_buffer" in k for k in one)
    different = [key for key, value in one.items() if not torch.equal(value, two[key])]
    assert not different, (len(different), len(one), different[:5])
    with pytest.raises(ConfigError, match="regions"):
        train_diffusion(
            build_parts(vae, frames, options),
            replace(frames, regions=None),
            tmp_path / "none",
            options,
            quiet=True,
        )
