"""Loading checkpoints: complete, safetensors only, quietly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lungsynth.errors import CheckpointError
from lungsynth.model.checkpoint import (
    DEFAULT,
    check_folder,
    load_pipeline,
    quiet_libraries,
    resolve,
    weights_hash,
)

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to break."""
    return shutil.copytree(checkpoint, tmp_path / "broken")


def test_a_checkpoint_loads_with_its_words(checkpoint: Path) -> None:
    import torch

    pipe, vocabulary = load_pipeline(str(checkpoint))
    assert vocabulary is not None and "lungs" in vocabulary.counts
    assert pipe.safety_checker is None
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        assert not part.training
        assert {(p.dtype, p.requires_grad) for p in part.parameters()} == {(torch.float32, False)}


def test_a_stable_diffusion_checkpoint_has_no_word_list(sd_folder: Path) -> None:
    pipe, vocabulary = load_pipeline(str(sd_folder))
    assert vocabulary is None and type(pipe.vae).__name__ == "AutoencoderKL"


def test_loading_is_silent_and_loudness_comes_back(
    checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    modules: tuple[Any, ...] = (diffusers.utils.logging, transformers.utils.logging)
    before = [(m.get_verbosity(), m.is_progress_bar_enabled()) for m in modules]
    capfd.readouterr()
    load_pipeline(str(checkpoint))
    assert capfd.readouterr() == ("", "")
    assert before == [(m.get_verbosity(), m.is_progress_bar_enabled()) for m in modules]
    with pytest.raises(ZeroDivisionError), quiet_libraries():
        assert not any(m.is_progress_bar_enabled() for m in modules)
        raise ZeroDivisionError
    assert before == [(m.get_verbosity(), m.is_progress_bar_enabled()) for m in modules]


@pytest.mark.parametrize("name", ["no/such/folder", "./here", "/nowhere", "~/x", "nosuchname"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no such folder, and not a Hub id"):
        load_pipeline(name)


def test_a_hub_id_that_cannot_be_reached() -> None:
    with pytest.raises(CheckpointError, match="nobody/nothing: cannot be loaded"):
        load_pipeline("nobody/nothing")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="a file; expected a folder"):
        load_pipeline(str(tmp_path / "model.safetensors"))


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model_index\.json.*unet/"):
        load_pipeline(str(tmp_path))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_an_incomplete_checkpoint(broken: Path, part: str) -> None:
    shutil.rmtree(broken / part)
    with pytest.raises(CheckpointError, match=f"{part}: no .*weights. The download is incomplete"):
        load_pipeline(str(broken))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "x.pt", "x.pkl"])
def test_pickled_weights_are_refused_unopened(broken: Path, name: str) -> None:
    (broken / "unet" / WEIGHTS).unlink()
    (broken / "unet" / name).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CheckpointError, match=f"only pickled weights.*{name}.*never loaded"):
        check_folder(broken)


def cut_weights(folder: Path) -> None:
    path = folder / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-500])


def junk_weights(folder: Path) -> None:
    (folder / "vae" / WEIGHTS).write_bytes(b"\xff" * 200)


def empty_weights(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"")


def no_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


def junk_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def junk_config(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def missing_shard(folder: Path) -> None:
    path = folder / "unet" / WEIGHTS
    from safetensors import safe_open

    with safe_open(path, framework="pt") as handle:
        names = list(handle.keys())
    shards = [
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
    ]
    path.rename(path.with_name(shards[0]))
    index = {"metadata": {}, "weight_map": {n: shards[k % 2] for k, n in enumerate(names)}}
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "harm",
    [
        cut_weights,
        junk_weights,
        empty_weights,
        no_tokenizer,
        junk_index,
        junk_config,
        missing_shard,
    ],
)
def test_a_corrupt_checkpoint_is_named(broken: Path, harm: Callable[[Path], None]) -> None:
    harm(broken)
    with pytest.raises(CheckpointError, match="broken"):
        load_pipeline(str(broken))


def test_code_in_a_checkpoint_is_never_run(broken: Path) -> None:
    marker = broken / "ran"
    for part in ("vae", "unet"):
        (broken / part / "evil.py").write_text(
            f"open({str(marker)!r}, 'w').write('x')\nclass Evil: pass\n"
        )
    (broken / "evil.py").write_text(f"open({str(marker)!r}, 'w').write('x')\nclass Evil: pass\n")
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps(index | {"vae": ["evil", "Evil"]}))
    with pytest.raises(CheckpointError):
        load_pipeline(str(broken))
    assert not marker.exists()


def test_lora_weights_that_are_pickled_or_missing(checkpoint: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "lora.bin"
    pickled.write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CheckpointError, match="pickled LoRA"):
        load_pipeline(str(checkpoint), lora=str(pickled))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "pytorch_lora_weights.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    for lora in (str(folder), str(tmp_path / "nowhere")):
        with pytest.raises(CheckpointError, match="with LoRA"):
            load_pipeline(str(checkpoint), lora=lora)


def test_names_are_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lungsynth.model import checkpoint as module

    monkeypatch.setattr(module, "CHECKPOINTS", tmp_path)
    (tmp_path / DEFAULT).mkdir()
    (tmp_path / DEFAULT / "model_index.json").write_text("{}")
    (tmp_path / "stray").mkdir()
    assert resolve(None) == resolve(DEFAULT) == str(tmp_path / DEFAULT)
    assert resolve("a/b") == "a/b" and resolve("stray") == "stray" and resolve("..") == ".."
    assert module.shipped_names() == [DEFAULT]


def test_the_hash_is_of_names_and_contents(checkpoint: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(checkpoint, tmp_path / name) for name in "abc"]
    assert weights_hash(str(copies[0])) == weights_hash(str(checkpoint))
    assert len(weights_hash(str(checkpoint))) == 16
    path = copies[1] / "vae" / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    (copies[2] / "vae" / WEIGHTS).rename(copies[2] / "vae" / "other.safetensors")
    assert len({weights_hash(str(folder)) for folder in copies}) == 3
    before = weights_hash(str(copies[0]))
    (copies[0] / "tokens").mkdir(exist_ok=True)
    (copies[0] / "tokens" / "lung.safetensors").write_bytes(b"learnt since")
    assert weights_hash(str(copies[0])) != before
