"""Rivals: each does what its name says, on films and attention whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import film

from lungsynth.errors import CaptureError, ConfigError, DataError, WordError
from lungsynth.evaluation.masks.figures import TruthSpec, iou
from lungsynth.evaluation.masks.reading import Batch, RivalContext
from lungsynth.evaluation.masks.rivals import (
    RIVALS,
    ellipse_pair,
    make_rivals,
    mean_mask,
    otsu_dark,
    parse_rivals,
)
from lungsynth.evaluation.masks.rivals_attention import (
    self_attention,
    spread_by_self_attention,
    unit,
    word_heat,
    word_prompt,
)
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.model.attention import AttentionCapture, Captured
from lungsynth.model.backbone import embed_prompts, encode_images
from lungsynth.pipeline import Synthesizer

TRUTH = TruthSpec()


def records(n: int, start: int = 0) -> list[Record]:
    return [
        Record(film(i)[0], "", film(i)[1], {"id": f"film-{i}"}) for i in range(start, start + n)
    ]


@pytest.fixture(scope="module")
def synthesizer(checkpoint: Path) -> Synthesizer:
    return Synthesizer(str(checkpoint), device="cpu")


@pytest.fixture
def context(synthesizer: Synthesizer) -> RivalContext:
    return RivalContext(synthesizer, 64, TRUTH, records(5), word="chest")


def batch_of(synthesizer: Synthesizer, n: int = 3, start: int = 40, text: str = "") -> Batch:
    images = np.stack([whole(r.image, pixels=64) for r in records(n, start)])
    return Batch(images, [text] * n, encode_images(synthesizer.pipe, images), seed=0)


def truths(n: int = 3, start: int = 40) -> list[np.ndarray]:
    return [
        whole(r.mask, pixels=64, nearest=True) == 255
        for r in records(n, start)
        if r.mask is not None
    ]


def scores(masks: np.ndarray) -> list[float]:
    valid = np.ones((64, 64), bool)
    return [iou(m, t, valid) for m, t in zip(masks, truths(len(masks)), strict=True)]


def test_names() -> None:
    assert parse_rivals("none") == []
    assert parse_rivals("all") == list(RIVALS)
    assert {"mean-mask", "otsu", "ellipses", "daam", "self4"} == set(RIVALS)
    assert parse_rivals("otsu, mean-mask") == ["mean-mask", "otsu"]
    with pytest.raises(ConfigError, match="'best' is unknown; there are all, none, mean-mask"):
        parse_rivals("best")


def test_the_mean_mask_is_the_best_constant() -> None:
    """Three of four films agree on a box; the fourth is empty: the box wins over everything."""
    box = np.zeros((8, 8), bool)
    box[2:6, 2:6] = True
    wider = box.copy()
    wider[1] = True
    everywhere = np.ones((4, 8, 8), bool)
    np.testing.assert_array_equal(
        mean_mask(np.stack([box, box, wider, box & False]), everywhere), box
    )
    # what is ignored does not count as background: known in one film only, it is what that film says
    valid = everywhere.copy()
    valid[1:, 1] = False
    masks = np.stack([wider, box, box, box])
    np.testing.assert_array_equal(mean_mask(masks, valid), wider)


def test_trivial_rivals_need_only_films(context: RivalContext, synthesizer: Synthesizer) -> None:
    made, skipped = make_rivals(["mean-mask", "otsu", "ellipses"], context)
    assert not skipped
    batch = batch_of(synthesizer)
    drawn = {title: rival(batch) for title, rival in made.items()}
    assert all(m.shape == (3, 64, 64) and m.dtype == bool for m in drawn.values())
    assert min(scores(drawn["mean training mask"])) > 0.6
    assert min(scores(drawn["Otsu on the inverted film"])) > 0.75
    ellipses = drawn["centred ellipses"]
    assert (ellipses[0] == ellipses[2]).all()
    assert context.facts["mean mask films"] == 5


def test_ellipses_are_two_and_mirror_each_other() -> None:
    from scipy import ndimage

    pair = ellipse_pair(128)
    assert ndimage.label(pair)[1] == 2
    np.testing.assert_array_equal(pair, pair[:, ::-1])
    assert pair.mean() == pytest.approx(2 * np.pi * 0.13 * 0.30, rel=0.02)


def test_otsu_leaves_the_air_beside_the_patient_alone() -> None:
    image = np.full((100, 100), 60, np.uint8)  # air, as dark as lung
    image[5:, 12:88] = 200
    image[30:70, 20:40] = image[30:70, 60:80] = 70
    image[45:50, 65:70] = 180  # a hole
    mask = otsu_dark(image)
    assert not mask[:, :12].any() and not mask[:, 88:].any() and not mask[:4].any()
    assert mask[32:68, 22:38].mean() > 0.9
    assert mask[45:50, 65:70].all()
    image[40:, 20:40] = image[40:, 60:80] = 70  # lungs cut off by the lower edge
    assert otsu_dark(image)[60:, 24:36].mean() > 0.9
    image[:, :12] = image[:, 88:] = 0  # black beyond the collimator
    assert otsu_dark(image)[35:, 24:36].mean() > 0.8
    for grey in (0, 90, 255):
        assert not otsu_dark(np.full((64, 64), grey, np.uint8)).any()


def test_a_rival_without_films_is_left_out_or_refused(context: RivalContext) -> None:
    context.train, context.word = [], "chest"
    made, skipped = make_rivals(["mean-mask", "ellipses"], context, required=False)
    assert list(made) == ["centred ellipses"]
    assert "rival-split" in skipped["mean training mask"]
    with pytest.raises(DataError, match="'mean-mask' learns from annotated films"):
        make_rivals(["mean-mask"], context)
    context.word = ""
    with pytest.raises(WordError, match="--word"):
        make_rivals(["daam"], context)


def test_word_maps_are_read_once_a_batch(context: RivalContext, synthesizer: Synthesizer) -> None:
    calls = []
    handle = synthesizer.pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    before = dict(synthesizer.pipe.unet.attn_processors)
    try:
        made, _ = make_rivals(["daam", "self4"], context)
        batch = batch_of(synthesizer, text="Frontal chest X-ray.")
        maps = [rival(batch) for rival in made.values()]
    finally:
        handle.remove()
    assert len(calls) == 2  # two timesteps, both maps from the same passes
    for one in maps:
        assert one.shape == (3, 64, 64) and one.dtype == np.float32
        assert one.min() == 0.0 and one.max() == 1.0
    assert np.abs(maps[0] - maps[1]).max() > 0.01
    assert synthesizer.pipe.unet.attn_processors == before
    again = made["DAAM of the word"](batch_of(synthesizer, text="Frontal chest X-ray."))
    np.testing.assert_array_equal(again, maps[0])


def test_a_film_s_word_is_found_or_added(synthesizer: Synthesizer) -> None:
    tokenizer = synthesizer.pipe.tokenizer
    text, tokens = word_prompt("Frontal chest X-ray.", "chest", tokenizer)
    assert text == "Frontal chest X-ray." and len(tokens) >= 1
    text, _ = word_prompt("Frontal film.", "chest", tokenizer)
    assert text == "Frontal film. chest"
    assert word_prompt("", "chest", tokenizer)[0] == "chest"
    long = "frontal " * 400
    assert (
        word_prompt(long, "chest", tokenizer)[0] == "chest"
    )  # beyond the token limit: the word alone


def test_daam_is_the_mean_of_all_layers() -> None:
    """Two layers of 2×2 and one of 1×1, two tokens of three: by hand."""
    fine, coarse = torch.zeros(1, 2, 2, 3), torch.full((1, 1, 1, 3), 0.6)
    fine[0, 0, 0] = torch.tensor([1.0, 0.4, 0.8])
    captured = Captured({(2, 2): 2 * fine, (1, 1): coarse}, {(2, 2): 2, (1, 1): 1})
    heat = word_heat(captured, [(1, 2)], 2, 2)[0]
    assert heat[0, 0] == pytest.approx((2 * 0.6 + 0.6) / 3)
    assert heat[1, 1] == pytest.approx(0.2)


def test_spreading_is_a_walk() -> None:
    step = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]])[None]
    heat = torch.tensor([[1.0, 0.0, 0.0]])
    expected = np.linalg.matrix_power(step[0].numpy(), 4) @ heat[0].numpy()
    np.testing.assert_allclose(spread_by_self_attention(heat, step)[0], expected, rtol=1e-6)
    flat = torch.full((1, 3), 0.25)
    torch.testing.assert_close(spread_by_self_attention(flat, step), flat)
    assert torch.equal(spread_by_self_attention(heat, step, power=0), heat)


def test_unit_maps() -> None:
    maps = torch.stack([torch.arange(4.0).view(2, 2), torch.full((2, 2), 3.0)])
    np.testing.assert_allclose(unit(maps), [[[0, 1 / 3], [2 / 3, 1]], [[0, 0], [0, 0]]], rtol=1e-6)


@pytest.mark.parametrize("which", ["pipe", "sd_pipe"])
def test_self_attention_is_read_and_nothing_else_changes(
    which: str, request: pytest.FixtureRequest
) -> None:
    unet: Any = request.getfixturevalue(which).unet
    side = int(unet.config.sample_size)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, unet.config.in_channels, side, side, generator=generator)
    text = torch.randn(2, 4, unet.config.cross_attention_dim, generator=generator)
    before = dict(unet.attn_processors)
    with torch.inference_mode():
        plain = unet(x, 10, encoder_hidden_states=text).sample
        capture = AttentionCapture(unet, height=side, width=side, guided=False)
        with self_attention(unet) as mean, capture as captured:
            seen = unet(x, 10, encoder_hidden_states=text).sample
            one = mean()
            unet(x, 10, encoder_hidden_states=text)
            torch.testing.assert_close(mean(), one)  # a mean, not a sum
    assert unet.attn_processors == before
    torch.testing.assert_close(seen, plain, rtol=1e-4, atol=1e-5)
    assert one.shape == (2, side * side, side * side)
    torch.testing.assert_close(one.sum(-1), torch.ones(2, side * side))
    assert captured.sums
    with pytest.raises(CaptureError, match="No self-attention"), self_attention(unet) as mean:
        mean()
    assert unet.attn_processors == before


def test_embeddings_of_a_word_reach_the_map(
    synthesizer: Synthesizer, context: RivalContext
) -> None:
    """Another word gives another map: the map is the word's, not the film's."""
    assert embed_prompts(synthesizer.pipe, ["chest"]).shape[0] == 1
    maps = []
    for word in ("chest", "frontal"):
        context.word = word
        batch = batch_of(synthesizer, text="Frontal chest film.")
        maps.append(RIVALS["daam"][1](context)(batch))
    assert np.abs(maps[0] - maps[1]).max() > 1e-3
