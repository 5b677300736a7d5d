"""Reading cross-attention while a U-Net runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lungsynth.errors import CaptureError
from lungsynth.model.attention import (
    AttentionCapture,
    Captured,
    grid_of,
    is_cross_attention,
    word_map,
)
from lungsynth.model.sampling import SampleOptions, draw


@pytest.fixture(params=["pipe", "sd_pipe"])
def unet(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param).unet


def inputs(
    unet: Any, batch: int = 2, *, height: int = 8, width: int = 8, seed: int = 0
) -> dict[str, Any]:
    """Random latents and embeddings."""
    g = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(batch, unet.config.in_channels, height, width, generator=g),
        "timestep": 500,
        "encoder_hidden_states": torch.randn(
            batch, 16, unet.config.cross_attention_dim, generator=g
        ),
    }


def capture(unet: Any, values: dict[str, Any], **options: Any) -> Captured:
    height, width = values["sample"].shape[-2:]
    options = {"guided": False} | options
    with torch.no_grad(), AttentionCapture(unet, height=height, width=width, **options) as captured:
        unet(**values)
    return captured


def part(values: dict[str, Any], index: slice) -> dict[str, Any]:
    return {k: v[index] if torch.is_tensor(v) else v for k, v in values.items()}


@pytest.mark.parametrize("size", [(8, 8), (8, 16), (16, 8)])
def test_a_captured_run_equals_one_without(unet: Any, size: tuple[int, int]) -> None:
    values = inputs(unet, height=size[0], width=size[1])
    with torch.no_grad():
        plain = unet(**values).sample
        with AttentionCapture(unet, height=size[0], width=size[1], guided=False, queries=True):
            captured = unet(**values).sample
    assert (plain - captured).abs().max() < 1e-4
    assert plain.abs().max() > 1e-3


def test_a_captured_drawing_equals_one_without(pipe: Any, sd_pipe: Any) -> None:
    for one in (pipe, sd_pipe):
        options = SampleOptions(steps=3, precision="fp32")
        plain = draw(one, ["both lungs"], [3], options, capture=False)
        captured = draw(one, ["both lungs"], [3], options)
        assert plain.captured is None and captured.captured is not None
        assert (plain.latents - captured.latents).abs().max() < 1e-4


def test_processors_are_put_back(unet: Any) -> None:
    before = unet.attn_processors
    capture(unet, inputs(unet))
    assert list(before) == list(unet.attn_processors)
    assert all(before[k] is unet.attn_processors[k] for k in before)


def test_processors_are_put_back_after_an_exception(unet: Any) -> None:
    before = unet.attn_processors
    with pytest.raises(ZeroDivisionError):  # and not CaptureError in its place
        with AttentionCapture(unet, height=8, width=8, guided=False):
            assert any(before[k] is not unet.attn_processors[k] for k in before)
            raise ZeroDivisionError
    assert all(before[k] is unet.attn_processors[k] for k in before)


def test_self_attention_is_left_alone(unet: Any) -> None:
    before = unet.attn_processors
    with pytest.raises(CaptureError), AttentionCapture(unet, height=8, width=8, guided=False):
        for name, processor in unet.attn_processors.items():
            assert (processor is before[name]) == (not is_cross_attention(name))


def test_a_network_without_cross_attention_is_refused() -> None:
    from diffusers import UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 16),
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        layers_per_block=1,
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    )
    with pytest.raises(CaptureError, match=r"No cross-attention layer.*UNet2DModel"):
        with AttentionCapture(unet, height=8, width=8, guided=False):
            pass


def test_nothing_run_is_an_error(unet: Any) -> None:
    with pytest.raises(CaptureError, match="did not run"):
        with AttentionCapture(unet, height=8, width=8, guided=False):
            pass


def test_the_wrong_latent_size_is_an_error_and_the_processors_come_back(unet: Any) -> None:
    before = unet.attn_processors
    with pytest.raises(CaptureError, match="is no level of a U-Net on 12x12"), torch.no_grad():
        with AttentionCapture(unet, height=12, width=12, guided=False):
            unet(**inputs(unet))
    assert all(before[k] is unet.attn_processors[k] for k in before)


@pytest.mark.parametrize("size", [(8, 8), (8, 16)])
def test_probabilities_of_all_tokens_sum_to_one(unet: Any, size: tuple[int, int]) -> None:
    captured = capture(unet, inputs(unet, height=size[0], width=size[1]))
    assert (
        captured.resolutions[0] == size
        and captured.resolutions == sorted(captured.resolutions)[::-1]
    )
    for grid in captured.resolutions:
        mean = captured.mean(grid)
        assert mean.shape == (2, *grid, 16) and mean.min() >= 0
        assert torch.allclose(mean.sum(-1), torch.ones(2, *grid), atol=1e-5)
        assert grid[1] * size[0] == grid[0] * size[1]


def test_only_the_conditional_half_is_read_under_guidance(unet: Any) -> None:
    conditional = inputs(unet, seed=1)
    unconditional = inputs(unet, seed=2) | {"sample": conditional["sample"]}
    both = {
        k: torch.cat([unconditional[k], v]) if torch.is_tensor(v) else v
        for k, v in conditional.items()
    }
    guided = capture(unet, both, guided=True, queries=True)
    alone = capture(unet, conditional, queries=True)
    other = capture(unet, unconditional)
    for grid in alone.resolutions:
        assert torch.allclose(guided.mean(grid), alone.mean(grid), atol=1e-5)
        assert not torch.allclose(guided.mean(grid), other.mean(grid), atol=1e-4)
    for name in alone.queries:
        assert torch.allclose(guided.queries[name], alone.queries[name], atol=1e-4)


def test_a_batch_holds_each_example(unet: Any) -> None:
    values = inputs(unet, 3)
    together = capture(unet, values)
    for b in range(3):
        alone = capture(unet, part(values, slice(b, b + 1)))
        for grid in together.resolutions:
            assert torch.allclose(together.mean(grid)[b], alone.mean(grid)[0], atol=1e-5)


def test_memory_does_not_grow_with_steps(unet: Any) -> None:
    sizes, counts = [], []
    for n_steps in (1, 5):
        with torch.no_grad(), AttentionCapture(unet, height=8, width=8, guided=False) as captured:
            for _ in range(n_steps):
                unet(**inputs(unet))
        assert captured.steps == [] and captured.queries == {}
        sizes.append({g: t.numel() for g, t in captured.sums.items()})
        counts.append(captured.counts)
    assert sizes[0] == sizes[1]
    assert counts[1] == {grid: 5 * n for grid, n in counts[0].items()}


def test_every_step_is_kept_when_asked_for(pipe: Any) -> None:
    options = SampleOptions(steps=4, scheduler="default", keep_steps=True, guidance=3.0)
    captured = draw(pipe, ["both lungs", "chest"], [1, 2], options).captured
    assert captured is not None and len(captured.steps) == 4
    for grid in captured.resolutions:
        steps = torch.stack([step[grid].float() for step in captured.steps])
        assert steps.shape[1:] == captured.mean(grid).shape
        assert torch.allclose(steps.mean(0), captured.mean(grid), atol=2e-3)


def test_queries_are_those_of_the_layer(unet: Any) -> None:
    name = next(k for k in unet.attn_processors if is_cross_attention(k))
    layer = unet.get_submodule(name.removesuffix(".processor"))
    seen: list[torch.Tensor] = []
    hook = layer.to_q.register_forward_hook(lambda _, __, out: seen.append(out))
    try:
        captured = capture(unet, inputs(unet), queries=True, probabilities=False)
    finally:
        hook.remove()
    q = captured.queries[name]  # (B, heads, h, w, d)
    batch, heads, h, w, d = q.shape
    assert heads == layer.heads
    expected = seen[0].view(batch, h * w, heads, d).transpose(1, 2)
    assert torch.equal(q.flatten(2, 3), expected)
    assert captured.sums == {}


def test_lora_layers_are_captured(sd_folder: Any) -> None:
    from lungsynth.model.checkpoint import load_pipeline
    from lungsynth.training.diffusion.parts import add_lora

    unet = load_pipeline(str(sd_folder))[0].unet
    add_lora(unet, 2)
    values = inputs(unet)
    with torch.no_grad():
        plain = unet(**values).sample
        with AttentionCapture(unet, height=8, width=8, guided=False) as captured:
            assert torch.allclose(unet(**values).sample, plain, atol=1e-4)
    assert captured.sums


@pytest.mark.parametrize(
    ("n", "size", "grid"),
    [
        (64, (8, 8), (8, 8)),
        (32, (8, 16), (4, 8)),
        (6, (9, 5), None),
        (15, (9, 5), (5, 3)),
        (2, (4, 8), (1, 2)),
    ],
)
def test_grids(n: int, size: tuple[int, int], grid: tuple[int, int] | None) -> None:
    if grid is None:
        assert grid_of(6, 9, 5) == (3, 2)
    else:
        assert grid_of(n, *size) == grid
    with pytest.raises(CaptureError, match="no level"):
        grid_of(7, *size)


def test_a_word_map_is_where_the_attention_is() -> None:
    sums = {(4, 8): torch.zeros(2, 4, 8, 3), (2, 4): torch.zeros(2, 2, 4, 3)}
    sums[(4, 8)][1, :2, :4, 2] = 4.0
    sums[(2, 4)][1, :1, :2, 2] = 1.0
    captured = Captured(sums, {(4, 8): 2, (2, 4): 1})
    heat = word_map(captured, 1, (2,), height=32, width=64)
    assert heat.shape == (32, 64) and heat.max() == 1 and heat.min() >= 0
    assert heat[:12, :24].mean() > 0.8 and heat[20:, 40:].mean() < 0.05
    assert word_map(captured, 0, (2,), height=32, width=64).max() == 0
    assert word_map(captured, 1, (0, 1), height=32, width=64).max() == 0
