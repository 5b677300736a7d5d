"""Checkpoints of other kinds: one sentence each, before anything is loaded, and nothing left behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub.client import pointed_at
from hub.server import serve
from wrong_checkpoints import INDEX, TEXT, UNET, VAE, WRONG, write_wrong

from lungsynth.errors import CheckpointError
from lungsynth.model.checkpoint import load_pipeline, shipped_names
from lungsynth.model.layout import Layout, check_layout, read_layout


@pytest.mark.parametrize("name", WRONG)
def test_a_checkpoint_of_another_kind_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    folder = write_wrong(tmp_path / name, name)
    with pytest.raises(CheckpointError, match=WRONG[name][0]) as caught:
        load_pipeline(str(folder))
    told = str(caught.value)
    assert "\n" not in told and told.count(". ") == 0 and told.startswith(str(folder))
    assert told.endswith("expected a text-to-image Stable Diffusion 1.x/2.x checkpoint.")
    assert len(told) - len(str(folder)) < 200


@pytest.mark.parametrize("command", ["sample", "segment", "masks"])
def test_commands_say_it_in_a_line_and_leave_nothing(
    tmp_path: Path, run_cli: Callable[..., Any], command: str
) -> None:
    from tiny import film, png, write_parquet

    (tmp_path / "film.png").write_bytes(png(film(0)[0]))
    films = write_parquet(tmp_path / "films.parquet", 4)
    given = {
        "sample": ("sample", "both lungs"),
        "segment": ("segment", tmp_path / "film.png"),
        "masks": ("evaluate", "masks", "--data", films),
    }
    for name in WRONG:
        folder, out = write_wrong(tmp_path / "models" / name, name), tmp_path / "out" / name
        ran = run_cli(*given[command], "--model", folder, "--out", out)
        assert ran.code == 1 and len(ran.err.strip().splitlines()) == 1, ran.err
        assert ran.err.startswith("CheckpointError: ") and "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_is_refused_leaves_nothing(
    tmp_path: Path, run_cli: Callable[..., Any], checkpoint: Path
) -> None:
    out = tmp_path / "new" / "out"
    for given in (["zebra"], ["both lungs", "--height", "50"], ["both lungs", "--word", "liver"]):
        ran = run_cli("sample", *given, "--model", checkpoint, "--out", out, "--quiet")
        assert ran.code == 1, ran.out
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    ran = run_cli("sample", "lungs", "--model", checkpoint, "--out", tmp_path / "file" / "out")
    assert ran.code == 1 and "cannot be written" in ran.err


def test_what_fits_is_taken() -> None:
    pooled = {**UNET, "addition_embed_type": "text"}
    for index, unet, text in (
        (INDEX, UNET, TEXT),
        (INDEX, pooled, TEXT),
        (INDEX, {**UNET, "cross_attention_dim": 1024}, {**TEXT, "hidden_size": 1024}),
        ({**INDEX, "_class_name": "LatentConsistencyModelPipeline"}, UNET, TEXT),
        (INDEX, {**UNET, "in_channels": 32, "out_channels": 32}, TEXT),
    ):
        vae = {**VAE, "latent_channels": unet["in_channels"]}
        check_layout("x", Layout(index, unet, vae, text))
    for name in shipped_names():
        from lungsynth.model.checkpoint import resolve

        check_layout(name, read_layout(resolve(name)))


def test_a_hub_repository_is_refused_before_its_weights_are_fetched(tmp_path: Path) -> None:
    folder = write_wrong(tmp_path / "xl", "sdxl")
    with serve() as hub, pointed_at(hub, tmp_path / "home"):
        for part in ("unet", "vae", "text_encoder"):
            (folder / part / "model.safetensors").write_bytes(b"no weights")
        files = [path for path in folder.rglob("*") if path.is_file()]
        told = [
            {"path": str(p.relative_to(folder)), "content": base64.b64encode(p.read_bytes())}
            for p in files
        ]
        hub.add_repo("lab/xl", kind="model").commit("main", "x", [("file", one) for one in told])
        with pytest.raises(CheckpointError, match=r"lab/xl: StableDiffusionXLPipeline is Stable"):
            load_pipeline("lab/xl")
        asked = " ".join(hub.requests)
        assert "model_index.json" in asked and "safetensors" not in asked


def test_json_that_is_broken_is_named(tmp_path: Path) -> None:
    folder = write_wrong(tmp_path / "x", "sdxl")
    for text in ("{", "[1]", "3"):
        (folder / "model_index.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"x: cannot be loaded"):
            read_layout(str(folder))
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    (folder / "unet" / "config.json").write_text("")
    with pytest.raises(CheckpointError, match=r"x: cannot be loaded"):
        read_layout(str(folder))
