"""Who may reject, what prompts ask for, and drawing again what was rejected."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_films import image_set, random_encoder, write_films

from lungsynth.errors import CheckpointError, ConfigError, OutputError
from lungsynth.evaluation.drawing import Asked, balanced_prompts, draw_set
from lungsynth.model.checkpoint import DEFAULT
from lungsynth.model.encoder import DEFAULT_FOLDER, HEADS, checksum, save_encoder
from lungsynth.model.sampling import SampleOptions
from lungsynth.permalink import MAX_SEED
from lungsynth.verify.asked import asked_fields, asked_years
from lungsynth.verify.redraw import Rejection, Tally, derived_seed, redraw
from lungsynth.verify.verifier import (
    SHIPPED,
    Rules,
    Verdict,
    Verifier,
    calibrate,
    half_of,
    load_verifier,
    refuse_judge,
    save_rules,
    verifier_folder,
)

ADULT = {"age_group": "adult", "view": "AP", "finding": "pneumonia", "sex": "F"}
GOOD = {
    "age_group": 0.9,
    "view (adults)": 0.9,
    "finding (adults)": 0.9,
    "finding (children)": 0.9,
    "sex (adults)": 0.9,
}


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        ("Frontal AP chest X-ray of a 60-year-old woman with pneumonia", ADULT),
        (
            "PA view, male, 30 years old, no finding",
            {**ADULT, "view": "PA", "sex": "M", "finding": "normal"},
        ),
        (
            "AP X-ray of a 3-year-old girl. Pneumonia",
            {"age_group": "child", "finding": "pneumonia"},
        ),
        (
            "chest film of a man, no pneumonia",
            {"age_group": "adult", "sex": "M", "finding": "normal"},
        ),
        ("AP chest X-ray, COVID-19 pneumonia", {"view": "AP"}),
        ("pulmonary tuberculosis", {}),
        ("normal, pneumonia", {}),
        ("a man and a woman", {"age_group": "adult"}),
    ],
)
def test_what_a_prompt_asks_for(prompt: str, fields: dict[str, str]) -> None:
    assert asked_fields(prompt) == fields


def test_every_balanced_prompt_asks_for_its_fields() -> None:
    for one in balanced_prompts(80):
        told = {
            k: v for k, v in one.fields.items() if k != "view" or one.fields["age_group"] == "adult"
        }
        assert asked_fields(one.prompt) == told


def test_years_of_a_prompt() -> None:
    assert asked_years("a 60-year-old man") == asked_years("man aged 60") == 60
    assert asked_years("chest X-ray, 12 lines") is None


def verifier(accuracy: dict[str, float] | None = None, farthest: float = 1e9) -> Verifier:
    return Verifier(random_encoder(), Rules("half-b", 7, farthest, accuracy or GOOD), "abc")


def test_a_picture_is_rejected_for_what_it_does_not_show() -> None:
    judge, images = verifier(), image_set(12).images
    first = judge.verdicts(images, [ADULT] * 12)
    for verdict in first:
        wrong = [h for h in HEADS if verdict.judged[h] != ADULT[h]]
        assert list(verdict.reasons) == [
            f"asked {ADULT[h]}, looks {verdict.judged[h]}" for h in wrong
        ]
        assert bool(verdict.reasons) == bool(wrong)
    shown = judge.verdicts(images, [v.judged for v in first])
    assert not any(one.reasons for one in shown)  # asked for what it looks like
    assert not any(v.judged for v in judge.verdicts(images, [{}] * 12))


def test_a_head_that_guesses_on_real_films_rejects_nothing() -> None:
    weak = verifier({**GOOD, "finding (adults)": 0.55})
    assert weak.judges(ADULT) == ["age_group", "view", "sex"]
    assert weak.judges({"age_group": "child", "finding": "normal"}) == ["age_group", "finding"]
    assert verifier({}).judges(ADULT) in ([], ["age_group", "view", "finding", "sex"])


def test_what_is_unlike_any_film_is_rejected() -> None:
    films = image_set(30).images
    encoder = random_encoder()
    rules = calibrate(encoder, films, GOOD, patients="half-b", seed=7)
    judge = Verifier(encoder, rules, "abc")
    far = [v.distance for v in judge.verdicts(films, [{}] * 30)]
    assert sum("unlike any film" in v.reasons for v in judge.verdicts(films, [{}] * 30)) <= 1
    blank = np.full((1, 256, 256), 255, np.uint8)
    (odd,) = judge.verdicts(blank, [{}])
    assert odd.distance > max(far)
    assert odd.reasons == ("unlike any film",)


def test_halves_hold_every_patient_once_and_about_as_many() -> None:
    names = [f"patient {k}" for k in range(2000)]
    halves = [half_of(name) for name in names]
    assert 900 < halves.count("half-a") < 1100
    assert halves == [half_of(name) for name in names]
    assert (
        half_of("1") != half_of("5") or half_of("1") != half_of("2") or half_of("1") != half_of("3")
    )


def test_a_verifier_is_read_as_it_was_written(tmp_path: Path) -> None:
    encoder = random_encoder()
    save_encoder(encoder, tmp_path / "e")
    with pytest.raises(CheckpointError, match="an encoder, but no verifier"):
        load_verifier(tmp_path / "e")
    save_rules(Rules("half-b", 3, 1.5, GOOD), tmp_path / "e")
    read = load_verifier(tmp_path / "e")
    assert read.rules == Rules("half-b", 3, 1.5, GOOD)
    assert read.report()["patients"] == "half-b"
    path = tmp_path / "e" / "verifier.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "encoder": "0" * 16}))
    with pytest.raises(CheckpointError, match="made for the encoder 0000"):
        load_verifier(tmp_path / "e")
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="not the rules of a verifier"):
        load_verifier(tmp_path / "e")


def test_the_verifier_of_the_checkpoint_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lungsynth.verify.verifier.CHECKPOINTS", tmp_path)
    own, shipped = tmp_path / "own", tmp_path / DEFAULT
    with pytest.raises(ConfigError, match="No verifier is shipped"):
        verifier_folder(None, own)
    for folder in (shipped, own):
        save_encoder(random_encoder(), folder / "verifier")
        save_rules(Rules("half-b", 3, 1.5, GOOD), folder / "verifier")
    assert verifier_folder(SHIPPED, own) == own / "verifier"
    assert verifier_folder(None, tmp_path / "other") == shipped / "verifier"
    assert verifier_folder(None) == shipped / "verifier"
    assert verifier_folder(tmp_path / "given", own) == tmp_path / "given"


def test_the_encoder_that_measures_may_not_reject() -> None:
    judge = Verifier(random_encoder(), Rules("half-b", 1, 1.0, GOOD), "abc")
    refuse_judge(judge, "another")
    with pytest.raises(ConfigError, match="is the encoder abc that measures"):
        refuse_judge(judge, "abc")
    whole = Verifier(random_encoder(), Rules("all", 1, 1.0, GOOD), "abc")
    with pytest.raises(ConfigError, match="trained on patients 'all'"):
        refuse_judge(whole, "another")


class Fussy(Verifier):
    """Accepts a picture whose first pixel is at least `least`."""

    def __init__(self, least: int) -> None:
        super().__init__(random_encoder(), Rules("half-b", 0, 1.0, {}), "fussy")
        self.least = least

    def verdicts(self, images: Any, asked: Sequence[Any]) -> list[Verdict]:
        """By the first pixel."""
        return [
            Verdict(
                ()
                if image[0, 0] >= self.least
                else ("dark", *(["very"] if image[0, 0] < 5 else [])),
                1.0,
                {},
            )
            for image in images
        ]


def draw_by_seed(table: dict[int, int], calls: list[list[int]]) -> Callable[..., list[np.ndarray]]:
    def draw(_: Sequence[int], seeds: Sequence[int]) -> list[np.ndarray]:
        calls.append(list(seeds))
        return [np.full((2, 2), table.get(seed, 0), np.uint8) for seed in seeds]

    return draw


def test_what_is_rejected_is_drawn_again_and_the_rest_is_not() -> None:
    again = derived_seed(11, 1)
    table = {10: 9, 11: 1, again: 9, 12: 9}
    calls: list[list[int]] = []
    kept = list(
        redraw(
            draw_by_seed(table, calls),
            lambda x: x,
            [10, 11, 12],
            [{}] * 3,
            Fussy(8),
            3,
            batch_size=3,
        )
    )
    assert calls == [[10, 11, 12], [again]]
    assert [one.seed for one in kept] == [10, again, 12]
    assert [one.asked_seed for one in kept] == [10, 11, 12]
    assert [a.reasons for a in kept[1].attempts] == [("dark", "very"), ()]
    assert kept[1].lines() == ["rejected seed 11: dark, very"]
    assert kept[1].report(Fussy(8))["accepted"]
    alone = list(redraw(draw_by_seed(table, []), lambda x: x, [11], [{}], Fussy(8), 3))
    assert alone[0].seed == kept[1].seed


def test_redrawing_is_bounded_and_keeps_the_least_bad() -> None:
    seeds = [derived_seed(5, k) for k in range(4)]
    calls: list[list[int]] = []
    table = {seeds[0]: 1, seeds[1]: 6, seeds[2]: 7, seeds[3]: 2}
    (one,) = redraw(draw_by_seed(table, calls), lambda x: x, [5], [{}], Fussy(8), 3)
    assert calls == [[seed] for seed in seeds]
    assert one.seed == seeds[1]  # fewest reasons, the earliest
    assert not one.accepted
    tally = Tally()
    tally.add(one)
    assert (tally.n, tally.n_drawn, tally.n_rejected, tally.n_unmet) == (1, 4, 4, 1)
    assert "4 of 4 drawings rejected (100 %)" in tally.sentence()


def test_derived_seeds_differ_and_fit_a_link() -> None:
    seeds = {derived_seed(seed, k) for seed in range(50) for k in range(6)}
    assert len(seeds) == 300
    assert max(seeds) <= MAX_SEED
    assert derived_seed(7, 0) == 7


def test_a_drawn_set_tells_its_rejections_and_resumes(pipe: Any, tmp_path: Path) -> None:
    from types import SimpleNamespace

    maker: Any = SimpleNamespace(pipe=pipe, name="m", model_hash="h", lora=None)
    options = SampleOptions(steps=1, guidance=1.0, precision="fp32")
    strict = Rejection(Fussy(256), 1)
    how: dict[str, Any] = {"options": options, "quiet": True}
    list(draw_set(maker, tmp_path, balanced_prompts(3), batch=2, rejection=strict, **how))
    rows = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [len(row["verify"]["attempts"]) for row in rows] == [2, 2, 2]
    assert not any(row["verify"]["accepted"] for row in rows)
    assert (strict.tally.n_drawn, strict.tally.n_unmet) == (6, 3)
    plain = list(draw_set(maker, tmp_path, balanced_prompts(4), **how))
    assert [path.name for path in plain] == ["00003.png"]
    other = [Asked("lungs", {}), *balanced_prompts(4)[1:]]
    with pytest.raises(OutputError, match=r"was drawn for .* and now 'lungs' is asked for"):
        list(draw_set(maker, tmp_path, other, **how))
    last = json.loads((tmp_path / "records.jsonl").read_text().splitlines()[-1])
    assert last["seed"] == 3
    assert "verify" not in last


def test_train_sample_and_draw_with_a_verifier(
    checkpoint: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    films = write_films(tmp_path / "films.parquet", 96)
    run = tmp_path / "run"
    done = run_cli(
        *("train", "encoder", "--data", films, "--out", run, "--preset", "tiny", "--device", "cpu"),
        *("--patients", "half-b", "--seed", 5, "--test-split", "", "--quiet"),
    )
    assert done.code == 0, done.err
    told = json.loads((run / "encoder" / "verifier.json").read_text())
    assert (told["patients"], told["seed"]) == ("half-b", 5)
    assert set(told["accuracy"]) <= set(GOOD)
    n_films = json.loads((run / "run.json").read_text()) if (run / "run.json").is_file() else None
    assert n_films is None or n_films  # the run itself is tested elsewhere
    out = tmp_path / "out"
    prompt = "Frontal AP chest X-ray of a 60-year-old woman with pneumonia"
    done = run_cli(
        *("sample", prompt, "--model", checkpoint, "--steps", 1, "--out", out, "--seed", 4),
        *("--verify", 1, "--verifier", run / "encoder", "--quiet", "--precision", "fp32"),
        *("--guidance-interval", "0,1000"),
    )
    assert done.code == 0, done.err
    record = json.loads((out / "000-seed4" / "record.json").read_text())
    assert record["options"]["guidance_interval"] == [0.0, 1000.0]
    verify = record["verify"]
    assert verify["asked"] == ADULT
    assert verify["asked_seed"] == 4
    assert verify["attempts"][0]["seed"] == 4
    assert record["seed"] in [one["seed"] for one in verify["attempts"]]
    assert "drawings rejected" in done.err
    assert done.err.count("rejected seed") == sum(bool(a["reasons"]) for a in verify["attempts"])


def test_verify_needs_a_verifier(
    checkpoint: Path, tmp_path: Path, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lungsynth.verify.verifier.CHECKPOINTS", tmp_path / "none")
    done = run_cli("sample", "normal", "--model", checkpoint, "--verify", 2, "--out", tmp_path)
    assert done.code == 1
    assert "No verifier is shipped with this checkpoint" in done.err
    done = run_cli("sample", "normal", "--verifier", tmp_path, "--out", tmp_path)
    assert done.code == 1
    assert "--verifier DIR needs --verify N" in done.err
    done = run_cli("sample", "normal", "--out", tmp_path, "--guidance-interval", "high")
    assert done.code == 1
    assert "expected two timesteps, such as 200,800" in done.err


def test_the_verifier_that_is_shipped_says_what_it_may_judge() -> None:
    folder = DEFAULT_FOLDER.parent / "mini" / "verifier"
    verifier = load_verifier(folder)
    assert verifier.name == json.loads((folder / "verifier.json").read_text())["encoder"]
    assert checksum(folder) == verifier.name != checksum(DEFAULT_FOLDER)
    assert checksum(DEFAULT_FOLDER.parent / "judge") not in (
        verifier.name,
        checksum(DEFAULT_FOLDER),
    )
