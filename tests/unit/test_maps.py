"""Maps of any diffusers pipeline: batches, guidance, start and end tokens, what is documented."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungsynth.errors import CaptureError, ConfigError, WordError
from lungsynth.maps import END, PADDING, START, capture_of, draw_with_maps, prompt_maps
from lungsynth.model.attention import Captured, word_map, word_maps
from lungsynth.prompts import word_tokens

ROOT = Path(__file__).parents[2]
PROMPTS = ["chest x-ray of a man", "both lungs with pneumonia", "chest, both lungs"]
WORDS = [["man", "chest x-ray"], ["lungs", START], ["lungs", END, PADDING]]
CALL: dict[str, Any] = {"num_inference_steps": 2, "output_type": "np"}


def noise(pipe: Any, n: int, side: int = 8) -> torch.Tensor:
    shape = (n, pipe.unet.config.in_channels, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_batch_has_the_maps_its_prompts_have_alone(sd_pipe: Any, guidance: float) -> None:
    together = draw_with_maps(
        sd_pipe,
        PROMPTS,
        words=WORDS,
        batch_size=3,
        guidance_scale=guidance,
        latents=noise(sd_pipe, 3),
        **CALL,
    )
    for index, (picture, maps) in enumerate(together):
        [(alone, single)] = draw_with_maps(
            sd_pipe,
            [PROMPTS[index]],
            words=[WORDS[index]],
            guidance_scale=guidance,
            latents=noise(sd_pipe, 3)[index : index + 1],
            **CALL,
        )
        assert np.abs(picture - alone).max() < 1e-3
        assert list(maps) == list(single) == WORDS[index]
        for word, heat in maps.items():
            assert heat.shape == picture.shape[:2] and heat.dtype == np.float32
            assert 0 <= heat.min() and heat.max() == pytest.approx(1)
            assert np.abs(heat - single[word]).max() < 0.02, word
    assert index == 2


def test_guidance_and_size_are_read_off_each_call(sd_pipe: Any) -> None:
    """The same capture reads the conditional half, whatever the call: the halves' maps differ."""
    read = {}
    for scale in (1.0, 1.0001):  # the same picture, once without and once with a second half
        with capture_of(sd_pipe) as captured:
            sd_pipe(
                PROMPTS[:2],
                guidance_scale=scale,
                negative_prompt=["pneumonia"] * 2 if scale > 1 else None,
                height=64,
                width=128,
                latents=torch.cat([noise(sd_pipe, 2)] * 2, dim=-1),
                **CALL,
            )
        finest = captured.resolutions[0]
        assert finest == (8, 16) and captured.sums[finest].shape[0] == 2
        read[scale] = captured.mean(finest)
    assert (read[1.0] - read[1.0001]).abs().max() < 1e-3
    assert (read[1.0][0] - read[1.0][1]).abs().max() > 1e-3
    assert torch.allclose(read[1.0].sum(-1), torch.ones(()), atol=1e-4)


def test_several_pictures_of_a_prompt_come_in_order(sd_pipe: Any) -> None:
    with capture_of(sd_pipe, keep_steps=True) as captured:
        sd_pipe(PROMPTS[:2], num_images_per_prompt=2, latents=noise(sd_pipe, 4), **CALL)
    maps = prompt_maps(
        captured, sd_pipe.tokenizer, PROMPTS[:2], height=32, width=32, words=WORDS[:2]
    )
    assert [list(one) for one in maps] == [WORDS[0], WORDS[0], WORDS[1], WORDS[1]]
    assert np.abs(maps[2]["lungs"] - maps[3]["lungs"]).max() > 0
    assert len(captured.steps) >= 2
    tokens = word_tokens(PROMPTS[1], "lungs", sd_pipe.tokenizer)
    mine = word_map(captured, 3, tokens, height=32, width=32).numpy()
    assert np.array_equal(maps[3]["lungs"], mine)
    with pytest.raises(ConfigError, match="3 prompts for 4 captured pictures"):
        prompt_maps(captured, sd_pipe.tokenizer, PROMPTS, height=8, width=8)


def test_tokens_around_the_text(sd_pipe: Any) -> None:
    tokenizer, prompt = sd_pipe.tokenizer, PROMPTS[0]
    ids = tokenizer(prompt)["input_ids"]
    assert word_tokens(prompt, START, tokenizer) == (0,)
    assert word_tokens(prompt, END, tokenizer) == (len(ids) - 1,)
    assert word_tokens(prompt, PADDING, tokenizer) == tuple(range(len(ids), 77))
    long = "lungs " * 100
    assert word_tokens(long, END, tokenizer) == (76,)
    with pytest.raises(WordError, match="fills all 77 tokens, so there is no <padding>"):
        word_tokens(long, PADDING, tokenizer)


def test_no_words_no_maps(sd_pipe: Any) -> None:
    with capture_of(sd_pipe) as captured:
        sd_pipe(PROMPTS[0], latents=noise(sd_pipe, 1), **CALL)
    assert word_maps(captured, 0, [], height=8, width=8).shape == (0, 8, 8)


def test_what_cannot_be_mapped_is_told_before_anything_is_drawn(sd_pipe: Any) -> None:
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (PROMPTS, WORDS[:2], ConfigError, "2 entries for 3 prompts"),
        (PROMPTS[:1], ["man"], ConfigError, "a list of words for each"),
        ("a man", None, ConfigError, "expected a list of texts"),
        ([], None, ConfigError, "expected a list of texts"),
        (PROMPTS[:1], [["liver"]], WordError, "'liver' does not occur"),
    ]
    for prompts, words, kind, told in cases:
        with pytest.raises(kind, match=told):
            next(draw_with_maps(sd_pipe, prompts, words=words, num_inference_steps=10**6))
    with pytest.raises(CaptureError, match="object has no U-Net; expected a Stable Diffusion"):
        capture_of(object())
    with pytest.raises(CaptureError, match="No probabilities were captured"):
        prompt_maps(Captured(), sd_pipe.tokenizer, PROMPTS, height=8, width=8)


def test_the_network_is_left_as_it_was(sd_pipe: Any) -> None:
    before = dict(sd_pipe.unet.attn_processors)
    with pytest.raises(ZeroDivisionError), capture_of(sd_pipe):
        raise ZeroDivisionError
    assert sd_pipe.unet.attn_processors == before and not sd_pipe.unet._forward_pre_hooks


def test_the_documented_code_runs(
    sd_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    text = (ROOT / "docs" / "ATTENTION.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2 and all("ORG/MODEL" in one for one in blocks)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        code = block.replace("ORG/MODEL", str(sd_folder)).replace("steps=20", "steps=1")
        exec(compile(code, "docs/ATTENTION.md", "exec"), {})
    told = capsys.readouterr().out
    assert "<start> (64, 64)" in told and "torch.Size([4, 8, 8, 77])" in told


def test_the_example_runs(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from PIL import Image

    given = ["both lungs", "a man with pneumonia", "--model", checkpoint, "--steps", 1]
    monkeypatch.setattr(sys, "argv", ["x", *map(str, given), "--out", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "attention_maps.py"), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and told[0].endswith("picture, lungs, both, <start>, <end>")
    with Image.open(tmp_path / "0.png") as sheet:
        assert sheet.size == (64 * 5, 64)


def with_ip_adapter(pipe: Any) -> list[torch.Tensor]:
    """Load a random IP-Adapter into a pipeline; embeddings of a picture for a guided call."""
    generator = torch.Generator().manual_seed(0)
    width, n_tokens, features = pipe.unet.config.cross_attention_dim, 4, 24

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    layers = [n for n in pipe.unet.attn_processors if n.endswith("attn2.processor")]
    weights = {
        "image_proj": {
            "proj.weight": random(n_tokens * width, features),
            "proj.bias": random(n_tokens * width),
            "norm.weight": torch.ones(width),
            "norm.bias": torch.zeros(width),
        },
        "ip_adapter": {
            f"{2 * k + 1}.{part}.weight": random(
                *pipe.unet.get_submodule(name[:-10]).to_k.weight.shape
            )
            for k, name in enumerate(layers)
            for part in ("to_k_ip", "to_v_ip")
        },
    }
    pipe.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    return [random(2, 1, features)]


def test_a_pipeline_with_an_ip_adapter_is_read_as_one_without(
    sd_folder: Path, sd_pipe: Any
) -> None:
    from lungsynth.model.checkpoint import load_pipeline

    pipe = load_pipeline(str(sd_folder))[0]
    image = with_ip_adapter(pipe)
    before = {name: type(one) for name, one in pipe.unet.attn_processors.items()}
    found = []
    for one, more in ((sd_pipe, {}), (pipe, {"ip_adapter_image_embeds": image})):
        with capture_of(one) as captured:
            one(PROMPTS[0], latents=noise(one, 1), guidance_scale=4.0, **more, **CALL)
        found.append(captured.mean((8, 8)))
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert {name: type(one) for name, one in pipe.unet.attn_processors.items()} == before


def test_pipelines_whose_calls_hold_other_parts_are_refused(sd_pipe: Any) -> None:
    from diffusers import (
        StableDiffusionInstructPix2PixPipeline,
        StableDiffusionPAGPipeline,
        StableDiffusionSAGPipeline,
    )

    for kind in (
        StableDiffusionInstructPix2PixPipeline,
        StableDiffusionPAGPipeline,
        StableDiffusionSAGPipeline,
    ):
        pipe = kind.__new__(kind)
        object.__setattr__(pipe, "unet", sd_pipe.unet)
        with pytest.raises(CaptureError, match=f"^{kind.__name__} guides in a way of its own"):
            capture_of(pipe)


def test_a_word_after_a_textual_inversion_keeps_its_place(sd_folder: Path) -> None:
    """Of an inversion with three vectors the tokenizer makes three tokens, in the pipeline only."""
    from lungsynth.model.checkpoint import load_pipeline

    pipe = load_pipeline(str(sd_folder))[0]
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    pipe.load_textual_inversion({"<haze>": vectors}, token="<haze>")
    with capture_of(pipe) as captured:
        pipe("<haze> of both lungs", latents=noise(pipe, 1), guidance_scale=1.0, **CALL)
    words = [["lungs", "<haze>"]]
    (maps,) = prompt_maps(
        captured, pipe.tokenizer, ["<haze> of both lungs"], height=8, width=8, words=words
    )
    for word, tokens in {"lungs": (6,), "<haze>": (1, 2, 3)}.items():
        expected = word_map(captured, 0, tokens, height=8, width=8).numpy()
        np.testing.assert_array_equal(maps[word], expected)


def test_pictures_as_tensors_have_maps_of_their_size(sd_pipe: Any) -> None:
    call = {**CALL, "output_type": "pt"}
    ((picture, maps),) = draw_with_maps(
        sd_pipe, PROMPTS[:1], words=WORDS[:1], latents=noise(sd_pipe, 1), **call
    )
    assert picture.shape == (3, 64, 64) and maps["man"].shape == (64, 64)
    with pytest.raises(ConfigError, match="`batch_size` is 0; expected at least 1"):
        next(draw_with_maps(sd_pipe, PROMPTS, batch_size=0))
