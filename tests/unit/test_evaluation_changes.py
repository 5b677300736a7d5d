"""One word changed, the age asked for, and the table of samplers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation_films import image_set, random_encoder, write_films

from benchmarks.sampler_figures import best_trades, markdown
from benchmarks.samplers import grid, parse_intervals, samplers
from lungsynth.cli.evaluate.run import words as run_words
from lungsynth.cli.evaluate.run.words import KeptParts, run_changes
from lungsynth.cli.evaluate.words import ChangesCommand
from lungsynth.errors import DataError
from lungsynth.evaluation import drawing
from lungsynth.evaluation.common import ImageSet
from lungsynth.evaluation.words import changes
from lungsynth.evaluation.words.age import age_table, agreement, evaluate_age, fit_judge, years_of
from lungsynth.evaluation.words.changes import (
    CHANGES,
    Pairs,
    auc,
    auc_interval,
    changes_table,
    evaluate_changes,
    pair_prompts,
)
from lungsynth.model.encoder import Embedding
from lungsynth.model.sampling import Drawn, SampleOptions


def test_changes_that_were_judged_are_not_drawn_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    n_drawn = 0

    def draw(_: Any, prompts: list[str], seeds: list[int], *args: Any, **how: Any) -> Drawn:
        nonlocal n_drawn
        n_drawn += len(prompts)
        if n_drawn > 8:
            raise KeyboardInterrupt
        images = np.stack(
            [
                np.full((8, 8), (9 * len(t) + s) % 256, np.uint8)
                for t, s in zip(prompts, seeds, strict=True)
            ]
        )
        return Drawn(images, None, None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing, "draw", draw)
    key = {"n": 2, "model_hash": "abc"}

    def parts() -> KeptParts:
        return KeptParts(tmp_path / "parts.json", key)

    def run(kept: KeptParts) -> Any:
        pairs = Pairs(options=SampleOptions(), n=2)
        return evaluate_changes(None, random_encoder(), pairs, kept=kept)

    with pytest.raises(KeyboardInterrupt):
        run(parts())
    assert len(parts()) == 2  # of four, each of two pairs
    assert not KeptParts(tmp_path / "parts.json", {**key, "n": 3})
    n_drawn = 0
    report, kept = run(parts()), parts()
    assert n_drawn == 8 and set(report["changes"]) == {change.name for change in CHANGES}
    assert dict(kept) == json.loads(json.dumps(report["changes"]))
    kept.remove()
    assert not (tmp_path / "parts.json").exists()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_pairs_differ_in_one_word(change: Any) -> None:
    pairs = pair_prompts(change, 30)
    assert pairs[:5] == pair_prompts(change, 5)
    assert len(set(pairs)) > 3
    for first, second in pairs:
        a, b = first.split(), second.split()
        assert len(a) == len(b)
        differing = [(x.strip("."), y.strip(".")) for x, y in zip(a, b, strict=True) if x != y]
        assert differing in ([change.words], [tuple(f"{w}" for w in change.words)])


def test_auc_by_hand() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(3.5 / 4)
    same = np.array([1.0, 2.0, 3.0])
    assert auc_interval(same, same, 0, paired=True).value == 0.5
    told = auc_interval(np.zeros(20), np.ones(20), 0, paired=False)
    assert (told.low, told.high) == (1.0, 1.0)


def test_a_word_that_is_heard_is_told_from_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of "woman" are bright, and nothing else changes anything."""

    def draw(_: Any, prompts: list[str], seeds: list[int], *args: Any, **how: Any) -> Drawn:
        tones = [
            60 + 3 * seed + 90 * ("woman" in text)
            for text, seed in zip(prompts, seeds, strict=True)
        ]
        images = np.stack([np.full((8, 8), tone, np.uint8) for tone in tones])
        return Drawn(images, None, None, None)  # type: ignore[arg-type]

    def embed(_: Any, images: np.ndarray, **how: Any) -> Embedding:
        bright = images.mean((1, 2)) / 255
        return Embedding(
            bright[:, None], {h: bright for h in ("age_group", "view", "finding", "sex")}
        )

    monkeypatch.setattr(drawing, "draw", draw)
    monkeypatch.setattr(changes, "embed", embed)
    report = evaluate_changes(None, random_encoder(), Pairs(options=SampleOptions(), n=12))
    told = report["changes"]
    assert told["man / woman"]["auc"]["value"] == 1.0
    assert told["man / woman"]["right_order"]["low"] == 1.0
    assert told["man / woman"]["grey_levels"] == 90
    for name in ("PA / AP", "normal / pneumonia, children"):
        assert told[name]["auc"]["value"] == 0.5
        assert told[name]["grey_levels"] == 0
    assert "man / woman" in changes_table(report)


def aged(n: int, prompts: bool) -> ImageSet:
    """Pictures whose brightness tells the age, in their fields or in their prompts."""
    images = image_set(n)
    for k in range(n):
        years = 20 + k * 60 // n
        images.images[k] = 40 + 2 * years
        told = (
            {"prompt": f"chest X-ray of a {years}-year-old man"} if prompts else {"age": str(years)}
        )
        images.fields[k] = {**told, "patient": str(k)}
    return images


def test_ages_that_pictures_show_are_found() -> None:
    report = evaluate_age(aged(40, True), aged(60, False), aged(50, False), random_encoder())
    assert report["real"]["pearson"]["value"] > 0.95
    assert report["samples"]["pearson"]["value"] > 0.95
    assert report["samples"]["error_years"]["value"] < report["mean_age_error_years"] / 2
    assert "samples" in age_table(report)
    deaf = aged(40, True)
    deaf.images[:] = deaf.images[20]
    flat = evaluate_age(deaf, aged(60, False), aged(50, False), random_encoder())
    assert flat["samples"]["pearson"]["value"] == 0.0
    assert abs(flat["samples"]["slope"]["value"]) < 1e-6


def test_years_of_films_and_prompts() -> None:
    assert years_of({"age": "60"}) == 60
    assert years_of({"prompt": "man aged 44"}) == 44
    assert np.isnan([years_of(x) for x in ({"age": "1-5"}, {"age": "9"}, {"age": "155"}, {})]).all()


def test_too_few_ages_are_refused() -> None:
    with pytest.raises(DataError, match="samples: 0 of 40 pictures tell an adult's age"):
        evaluate_age(
            image_set(40, fields=[{}] * 40), aged(60, False), aged(50, False), random_encoder()
        )


def test_agreement_by_hand() -> None:
    told = agreement(np.array([20.0, 40.0, 60.0]), np.array([30.0, 40.0, 50.0]), list("abc"), 0)
    assert told["pearson"]["value"] == pytest.approx(1.0)
    assert told["slope"]["value"] == pytest.approx(0.5)
    assert told["error_years"]["value"] == pytest.approx(20 / 3, rel=1e-4)


def test_a_judge_of_noise_says_the_mean() -> None:
    rng = np.random.default_rng(0)
    judge = fit_judge(rng.normal(size=(200, 20)), rng.uniform(20, 80, 200))
    assert np.abs(judge.predict(rng.normal(size=(200, 20))) - 50).max() < 15


def test_the_grid_has_no_interval_without_guidance() -> None:
    rows = list(grid((4, 8), ("dpm",), (1.0, 3.0), (None, (200.0, 800.0))))
    told = [(row.steps, row.guidance, row.guidance_interval) for row in rows]
    assert told == [(n, g, i) for n in (4, 8) for g, i in ((1, None), (3, None), (3, (200, 800)))]
    assert parse_intervals(["all", "200,800"]) == [None, (200.0, 800.0)]


def test_parts_of_other_films_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    keys = []

    def parts(path: Path, key: dict[str, Any]) -> KeptParts:
        keys.append(json.dumps(key))
        return KeptParts(path, key)

    monkeypatch.setattr(run_words, "KeptParts", parts)
    monkeypatch.setattr(run_words, "films_of", lambda command: None)
    monkeypatch.setattr(run_words, "evaluate_changes", lambda *_, **__: {})
    monkeypatch.setattr(run_words, "changes_table", lambda report: "")
    for more in ({}, {"split": "val"}, {"limit": 9}, {"image_column": "film"}):
        told: dict[str, Any] = {"sources": ("films",), "out": tmp_path, "quiet": True, **more}
        run_changes(ChangesCommand(model=str(checkpoint), **told))
    assert len(set(keys)) == 4


def test_the_commands_write_reports(
    checkpoint: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    films, out = write_films(tmp_path / "films.parquet", 96), tmp_path / "out"
    done = run_cli(
        *("evaluate", "changes", "--data", films, "--checkpoint", checkpoint, "--out", out),
        *("--pairs", 2, "--steps", 1, "--guidance", 1, "--quiet"),
    )
    assert done.code == 0, done.err
    report = json.loads((out / "changes.json").read_text())
    assert set(report["changes"]) == {change.name for change in CHANGES}
    assert report["changes"]["normal / pneumonia, adults"]["real"]["n"] > 0
    args = [
        *("--data", str(films), "--model", str(checkpoint), "--n", "10", "--steps", "1"),
        *("--scheduler", "dpm", "--guidance", "1.5", "--out", str(out / "samplers.jsonl")),
    ]
    table = CliRunner().invoke(samplers, args)
    assert table.exception is None, table.output
    path = out / "samplers.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["guidance_interval"] for row in rows] == [None, [200.0, 800.0]]
    assert all(set(row["frechet"]) == set(row["ratio"]) == {"adults", "children"} for row in rows)
    assert "| steps | scheduler |" in table.output and "200-800" in table.output
    # a run that was killed within the second row goes on with it, and draws the first no more
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first.replace('"seconds": ', '"seconds": 9') + second[:40] + "\n")
    assert CliRunner().invoke(samplers, args).exception is None
    again = [json.loads(one) for one in path.read_text().splitlines() if one.endswith("}")]
    assert again[0]["seconds"] > 9
    same = ("frechet", "points", "guidance_interval")
    assert {k: again[1][k] for k in same} == {k: rows[1][k] for k in same}


def sampler_row(points: float, ratio: float, seconds: float) -> dict[str, Any]:
    return {
        **{"steps": 20, "scheduler": "dpm", "guidance": 2.0, "guidance_interval": (200.0, 800.0)},
        **{"seconds": seconds, "frechet": {"adults": 8 * ratio}, "ratio": {"adults": ratio}},
        **{"points": {"sex (adults)": points}, "mean_points": points},
    }


def test_the_table_of_samplers_marks_what_nothing_beats() -> None:
    rows = [sampler_row(-4, 2, 1.0), sampler_row(-5, 2, 1.0), sampler_row(-9, 3, 0.5)]
    assert best_trades(rows) == [0, 2]
    told = {"floor": {"adults": 8.0}, "n": 60, "seed": 0, "model_hash": "abc", "encoder": "def"}
    lines = markdown(rows, told, "python -m benchmarks samplers --quick").splitlines()
    assert [line.startswith("| **20** |") for line in lines[2:5]] == [True, False, True]
    assert "| dpm | 2 | 200-800 | 1.000 | 16.0 (2 ×) | – | -4.0 | -4.0 |" in lines[2]
    assert "Weights `abc`" in lines[-1]
    assert len({line.count("|") for line in lines[:5]}) == 1
