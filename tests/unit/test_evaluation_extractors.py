"""What turns pictures into features: radiomics, local networks, clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_films import picture, random_encoder
from safetensors.torch import save_file
from torch import nn

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.evaluation.fidelity.extractors import (
    MAX_FIT,
    EncoderExtractor,
    RadiomicsExtractor,
    Remembered,
    load_extractor,
)
from lungsynth.evaluation.fidelity.radiomics import (
    definition,
    feature_names,
    radiomic_features,
)
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, embed, save_encoder

SMALL = np.stack([picture(i, pixels=64) for i in range(4)])


def value(image: np.ndarray, name: str) -> float:
    return float(radiomic_features(image[None])[0, feature_names().index(name)])


def test_radiomic_features_have_names_and_are_finite() -> None:
    flat = np.full((1, 64, 64), 255, dtype=np.uint8)
    told = radiomic_features(np.concatenate([SMALL, flat]))
    assert told.shape == (5, len(feature_names()))
    assert len(set(feature_names())) == len(feature_names())
    assert np.isfinite(told).all()
    assert len(definition()) == 16


def test_tones_by_hand() -> None:
    image = np.full((64, 64), 40, dtype=np.uint8)
    image[:, 32:] = 200
    assert value(image, "tone mean") == pytest.approx(120)
    assert value(image, "tone std") == pytest.approx(80)
    assert value(image, "tone entropy") == pytest.approx(1)  # bits: two tones, equally often
    assert value(image, "tone kurtosis") == pytest.approx(-2)
    assert value(image, "tone interquartile range") == pytest.approx(160)


def test_co_occurrence_by_hand() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 8  # one bin apart, along the rows only
    # contrast 1 along the rows and both diagonals, 0 down the columns
    assert value(stripes, "co-occurrence 1/1 contrast mean") == pytest.approx(0.75)
    assert value(stripes, "co-occurrence 1/1 contrast range") == pytest.approx(1)
    # at half the side the stripes are gone
    assert value(stripes, "co-occurrence 1/2 contrast mean") == 0


def test_bands_tell_coarse_from_fine() -> None:
    places = np.arange(128)
    waves = [
        np.tile(128 + 60 * np.sin(2 * np.pi * places / period), (128, 1)).astype(np.uint8)
        for period in (6, 36)
    ]
    fine, coarse = waves
    assert value(fine, "band 1 std") > 5 * value(coarse, "band 1 std")
    assert value(coarse, "band 8 std") > 5 * value(fine, "band 8 std")


def test_patterns_of_a_turned_picture_are_the_same() -> None:
    names = [n for n in feature_names() if n.startswith("pattern 1/1")]
    told, turned = (radiomic_features(x[None])[0] for x in (SMALL[0], np.rot90(SMALL[0]).copy()))
    columns = [feature_names().index(n) for n in names]
    assert told[columns] == pytest.approx(turned[columns], abs=0.02)


def test_radiomics_are_standardised_by_the_films_they_were_fitted_to() -> None:
    extractor = RadiomicsExtractor()
    extractor.fit(SMALL)
    raw = radiomic_features(SMALL)
    moving = raw.std(0) > 1e-9
    told = extractor.features(SMALL)
    assert told.mean(0) == pytest.approx(0, abs=1e-9)
    assert told[:, moving].std(0) == pytest.approx(1)
    assert (told[:, ~moving] == 0).all()
    assert len(SMALL) < MAX_FIT


def test_no_picture_is_read_twice() -> None:
    seen: list[int] = []

    class Counting(EncoderExtractor):
        def features(self, images: np.ndarray, *, quiet: bool = True) -> np.ndarray:
            seen.append(len(images))
            return super().features(images, quiet=quiet)

    encoder = random_encoder()
    remembered = Remembered(Counting(encoder))
    assert remembered.n_features == 0
    first = remembered.features(SMALL[[0, 1, 0]])
    again = remembered.features(SMALL[[1, 2, 0]])
    assert seen == [2, 1] and remembered.n_features == 8
    assert np.array_equal(first[[0, 2]], again[[2, 2]]) and np.array_equal(first[1], again[0])
    assert np.allclose(again, embed(encoder, SMALL[[1, 2, 0]]).features, atol=1e-6)


def test_the_default_is_the_shipped_encoder() -> None:
    for chosen in (None, "lungsynth"):
        extractor = load_extractor(chosen)
        assert (extractor.name, extractor.checksum) == ("lungsynth", checksum(DEFAULT_FOLDER))


def test_a_folder_of_train_encoder(tmp_path: Path) -> None:
    encoder = random_encoder()
    save_encoder(encoder, tmp_path / "own")
    extractor = load_extractor(str(tmp_path / "own"))
    assert extractor.checksum == checksum(tmp_path / "own")
    assert np.allclose(extractor.features(SMALL), embed(encoder, SMALL).features)


def transformers_model(folder: Path, kind: str) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model, ResNetConfig, ResNetModel

    torch.manual_seed(0)
    model: nn.Module
    if kind == "dinov2":
        model = Dinov2Model(
            Dinov2Config(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
            )
        )
    else:
        model = ResNetModel(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        )
    model.eval().save_pretrained(folder)
    told = {
        "size": {"shortest_edge": 32},
        "do_center_crop": True,
        "crop_size": {"height": 28},
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.1],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return model


@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
def test_transformers_folders_give_pooled_features(kind: str, tmp_path: Path) -> None:
    model = transformers_model(tmp_path, kind)
    extractor = load_extractor(str(tmp_path))
    grey = np.full((1, 64, 64), 128, np.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.1])
    x = ((128 / 255 - mean) / std).reshape(1, 3, 1, 1).expand(1, 3, 28, 28)
    with torch.no_grad():
        hidden = model(pixel_values=x).last_hidden_state
    expected = hidden[:, 0] if kind == "dinov2" else hidden.mean((2, 3))
    assert extractor.name == tmp_path.name
    assert extractor.features(grey) == pytest.approx(expected.double().numpy(), abs=1e-4)


def test_a_model_with_missing_tensors_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    transformers_model(tmp_path, "dinov2")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing, such as layernorm\.weight"):
        load_extractor(str(tmp_path))


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not take pictures"):
        load_extractor(str(tmp_path))


def test_a_broken_preparation_is_named(tmp_path: Path) -> None:
    transformers_model(tmp_path, "resnet")
    for told in ("{", '{"image_mean": [0.5, 0.5]}', '{"size": "large"}'):
        (tmp_path / "preprocessor_config.json").write_text(told)
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: not a usable"):
            load_extractor(str(tmp_path))


def test_transformers_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no weights here"):
        load_extractor(str(tmp_path))


def test_unknown_model_types_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such thing"}')
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        load_extractor(str(tmp_path))


@pytest.mark.parametrize("name", ["weights.pth", "model.pt", "net.ckpt"])
def test_pickles_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(CheckpointError, match="pickled objects, which are not loaded"):
        load_extractor(str(tmp_path / name))


def test_what_is_neither_name_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="--encoder incption: neither one of lungsynth, radiomics"
    ):
        load_extractor("incption")
    with pytest.raises(CheckpointError, match="no encoder here"):
        load_extractor(str(tmp_path))
