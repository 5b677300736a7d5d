"""Captions wrong in one fact, and the loss of a network that hears one fact and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_films import image_set

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.words.facts import FactPair, asked_of, choose_pairs, fact_pairs
from lungsynth.evaluation.words.hearing import (
    Passes,
    balanced_share,
    caption_losses,
    hearing,
    hearing_table,
)
from lungsynth.evaluation.words.labels import asked_labels
from lungsynth.prompts import split_words
from lungsynth.training.captions import caption
from lungsynth.training.diffusion.parts import count_words

NIH = {"source_set": "nih", "patient": "1"}
MAN = {**NIH, "age": "60", "sex": "M", "view": "PA", "findings": "effusion|pneumonia"}
TB = {
    "source_set": "shenzhen",
    "age": "33",
    "sex": "F",
    "view": "PA",
    "label": "tuberculosis",
    "findings": "secondary PTB in the left upper field",
}
CHILD = {"source_set": "kermany", "age": "1-5", "view": "AP", "findings": "viral pneumonia"}


def pairs_of(fields: dict[str, str]) -> dict[str, FactPair]:
    return {pair.fact: pair for pair in fact_pairs(fields)}


def test_each_pair_is_wrong_in_its_fact_alone() -> None:
    pairs = pairs_of(MAN)
    right = "Frontal PA chest X-ray of a 60-year-old man. Pleural effusion and pneumonia"
    assert {pair.right for pair in pairs.values()} == {right}
    assert {fact: pair.wrong for fact, pair in pairs.items()} == {
        "sex": right.replace("man", "woman"),
        "view": right.replace("PA", "AP"),
        "adult finding": "Frontal PA chest X-ray of a 60-year-old man. Normal",
        "age": right.replace("60", "30"),
    }
    assert {pair.truth for pair in pairs.values()} == {"M", "PA", "finding", "older"}


def test_a_child_is_asked_its_finding_only() -> None:
    pairs = pairs_of(CHILD)
    assert list(pairs) == ["child finding"]
    assert pairs["child finding"].right == "Frontal AP chest X-ray of a young child. Pneumonia"
    assert pairs["child finding"].wrong == "Frontal AP chest X-ray of a young child. Normal"
    normal = pairs_of({**CHILD, "findings": "normal"})["child finding"]
    assert (normal.wrong, normal.truth) == (pairs["child finding"].right, "normal")


def test_a_side_is_swapped_where_the_text_names_one() -> None:
    pair = pairs_of(TB)["side"]
    said = "Frontal PA chest X-ray of a 33-year-old woman. Secondary pulmonary tuberculosis in the"
    assert pair.right == f"{said} left upper field"
    assert (pair.wrong, pair.truth) == (f"{said} right upper field", "left")
    for text in ("bilateral PTB with right upper atelectasis", "left and right PTB", "PTB"):
        assert "side" not in pairs_of({**TB, "findings": text})
    normal = pairs_of({**TB, "findings": "normal", "label": "normal"})
    assert normal["adult finding"].wrong.endswith("Tuberculosis")


@pytest.mark.parametrize("years", [18, 30, 47, 53, 54, 60, 61, 75, 90])
def test_a_wrong_age_is_thirty_years_off_and_an_adults(years: int) -> None:
    pair = pairs_of({**MAN, "age": str(years)})["age"]
    wrong = int(pair.wrong.split("-year-old")[0].split()[-1])
    assert abs(wrong - years) == 30
    assert 18 <= wrong <= 90
    assert pair.truth == ("younger" if wrong > years else "older")


def test_what_is_not_known_is_not_asked() -> None:
    assert fact_pairs({}) == []
    assert list(pairs_of({**NIH, "sex": "F", "age": "", "view": "LATERAL"})) == ["sex"]


def test_captions_use_only_words_of_training_captions() -> None:
    rng = np.random.default_rng(0)
    rows = [MAN, {**MAN, "sex": "F", "findings": "no finding", "view": "AP"}, CHILD]
    learnt = count_words(caption("", row, "whole chest", rng) for row in rows for _ in range(400))
    for row in rows:
        for pair in fact_pairs(row):
            for word in split_words(pair.right) + split_words(pair.wrong):
                assert word in learnt.counts or word.isdigit(), word


def adults(n: int, **told: str) -> list[dict[str, str]]:
    return [{**MAN, "sex": "MF"[i % 2], "patient": str(i), **told} for i in range(n)]


def test_sources_of_one_side_are_not_asked() -> None:
    """All films of `nih` have a finding and lie PA, so these would be told by the look of the source."""
    chosen = choose_pairs(adults(40), None, 0)
    assert {pair.fact for _, pair in chosen} == {"sex", "age"}
    mixed = adults(40) + adults(10, findings="no finding")
    assert "adult finding" in {pair.fact for _, pair in choose_pairs(mixed, None, 0)}


def test_as_many_films_of_either_truth_are_taken() -> None:
    fields = adults(30, sex="M") + adults(30, sex="F") + adults(60, sex="M")
    chosen = [pair for _, pair in choose_pairs(fields, 20, 0) if pair.fact == "sex"]
    assert [sum(p.truth == truth for p in chosen) for truth in "MF"] == [10, 10]
    again = choose_pairs(fields, 20, 0)
    assert again == choose_pairs(fields, 20, 0)
    assert again != choose_pairs(fields, 20, 1)


def test_a_liking_for_one_caption_wins_nothing() -> None:
    truths = ["M"] * 30 + ["F"] * 10
    always_man = [1.0] * 30 + [0.0] * 10
    share = balanced_share(truths, always_man, [str(i) for i in range(40)], 0)
    assert share.value == 0.5
    assert share.low == share.high == 0.5  # whatever is drawn
    assert balanced_share(truths, [1.0] * 40, ["a"] * 40, 0).value == 1.0


def test_films_of_one_patient_are_drawn_together() -> None:
    won = [1.0] * 20 + [0.0] * 20
    alone = balanced_share(["M"] * 40, won, [str(i) for i in range(40)], 0)
    paired = balanced_share(["M"] * 40, won, ["a"] * 20 + ["b"] * 20, 0)
    assert (paired.low, paired.high) == (0.0, 1.0)
    assert alone.low > 0.3


class Hearer:
    """A pipeline whose network knows the noise where the prompt's sex is that of the film.

    Films of men are bright. The text is its number of letters, so "woman" is longer than "man".
    """

    def __init__(self, kind: str = "epsilon") -> None:
        alphas = torch.linspace(0.99, 0.05, 1000)
        self.scheduler = SimpleNamespace(
            alphas_cumprod=alphas, config=SimpleNamespace(prediction_type=kind)
        )
        config = SimpleNamespace(sample_size=8, in_channels=1, block_out_channels=(1,))
        self.unet = self
        self.config, self.device, self.vae_scale_factor = config, torch.device("cpu"), 8
        self.calls: list[Any] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor, *, encoder_hidden_states: Any) -> Any:
        self.calls.append((x.clone(), t.clone()))
        alpha = self.scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        says_man = (encoder_hidden_states[:, 0, 0] == 3).float().reshape(-1, 1, 1, 1)
        clean = 2 * says_man - 1  # what it takes the film to be
        noise = (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        v = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        kind = self.scheduler.config.prediction_type
        return SimpleNamespace(sample=noise if kind == "epsilon" else v)


@pytest.fixture
def hearer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hearer]:
    """Makes a `Hearer`, with latents that are 1 for bright films and -1 for dark ones."""
    from lungsynth.evaluation.words import hearing as module

    def embed(_: Any, texts: list[str]) -> torch.Tensor:
        words = [next(w for w in ("woman", "man") if w in text.split(". ")[0]) for text in texts]
        return torch.tensor([[[float(len(word))]] for word in words])

    def encode(_: Any, images: np.ndarray) -> torch.Tensor:
        bright = torch.from_numpy(images.mean((1, 2)) > 128).float().reshape(-1, 1, 1, 1)
        return (2 * bright - 1).expand(-1, 1, 8, 8)

    monkeypatch.setattr(module, "embed_prompts", embed)
    monkeypatch.setattr(module, "encode_images", encode)
    return Hearer


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_network_that_hears_sex_wins_by_sex_and_nothing_else(
    hearer: Callable[..., Hearer], kind: str
) -> None:
    fields = adults(24)
    films = image_set(24, fields=fields)
    for index, told in enumerate(fields):
        films.images[index] = 250 if told["sex"] == "M" else 5
    report = hearing(hearer(kind), films, Passes(timesteps=(300, 700)))
    assert report["facts"]["sex"]["share"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert report["facts"]["sex"]["gap_percent"]["value"] > 100
    age = report["facts"]["age"]
    assert age["share"]["value"] == 0.5  # not heard: equal losses, no side is favoured
    assert set(report["facts"]) == {"sex", "age"}
    assert "sex" in hearing_table(report)


def test_both_captions_are_given_the_same_noise_in_any_batch(
    hearer: Callable[..., Hearer],
) -> None:
    pipe, latents = hearer(), torch.ones(3, 1, 8, 8)
    captions = [["a man. x", "a woman. x"]] * 3
    how = Passes(timesteps=(500,), n_seeds=2)
    whole = caption_losses(pipe, latents, captions, replace(how, batch=64))
    noised, t = pipe.calls[0]
    assert len(noised) == 12
    assert t.unique().tolist() == [500]
    assert torch.equal(noised[0], noised[2])  # film 0: caption 0 and 1, first noise
    assert not torch.equal(noised[0], noised[1])  # two noises
    assert not torch.equal(noised[0], noised[4])  # two films
    parts = caption_losses(pipe, latents, captions, replace(how, batch=5))
    assert all(np.allclose(a, b) for a, b in zip(whole, parts, strict=True))


def test_films_that_tell_nothing_are_refused(hearer: Callable[..., Hearer]) -> None:
    films = image_set(4, fields=[{} for _ in range(4)])
    with pytest.raises(DataError, match="None of 4 films tells a fact"):
        hearing(hearer(), films)


def test_an_unknown_prediction_type_is_refused(hearer: Callable[..., Hearer]) -> None:
    with pytest.raises(ConfigError, match="prediction_type is 'sample'"):
        hearing(hearer("sample"), image_set(8, fields=adults(8)))


def test_the_command_writes_a_report(
    checkpoint: Path, parquet: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    done = run_cli(
        "evaluate",
        "hearing",
        "--data",
        parquet,
        "--split",
        "",
        "--checkpoint",
        checkpoint,
        "--out",
        tmp_path,
        "--timesteps",
        "500",
        "--noises",
        1,
        "--quiet",
    )
    assert done.code == 0, done.err
    assert "right caption wins" in done.out
    report = json.loads((tmp_path / "hearing.json").read_text())
    assert {"sex", "child finding", "adult finding"} <= set(report["facts"])
    assert report["timesteps"] == [500]
    assert report["model_hash"]
    for told in report["facts"].values():
        assert sum(part["n"] for part in told["truths"].values()) == told["n"]


def test_bad_timesteps_are_refused(parquet: Path, run_cli: Callable[..., Any]) -> None:
    done = run_cli(
        "evaluate", "hearing", "--data", parquet, "--out", "x", "--timesteps", "400,1200"
    )
    assert done.code == 1
    assert "--timesteps '400,1200': expected whole numbers from 0 to 999" in done.err


def test_a_film_is_asked_for_by_its_caption() -> None:
    told = {"view": "PA", "age": "60", "sex": "F", "findings": "effusion|pneumonia"}
    asked = asked_of(told)
    assert asked.prompt.startswith("Frontal PA chest X-ray of a 60-year-old woman. ")
    assert asked.fields["view"] == "PA" and asked.fields["sex"] == "F"
    assert "pneumonia" in asked.fields["finding"] and asked.fields["age_group"] == "adult"
    assert (asked_labels([asked.fields]) == asked_labels([told])).all()
    assert asked_of({"age": "1-5", "view": "AP"}).fields == {"age_group": "child", "view": "AP"}
