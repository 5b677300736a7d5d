"""Arms learn, cells resume, figures add up, and what must not be measured is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import film, png

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.downstream.cell import Cell
from lungsynth.evaluation.downstream.cells import agreement, keep_best, real_subset
from lungsynth.evaluation.downstream.data import Pairs, read_real, read_synthetic
from lungsynth.evaluation.downstream.models import (
    AUGMENTATIONS,
    MODELS,
    PRESETS,
    Preset,
    build_model,
    foreground,
    splice,
    train,
)
from lungsynth.evaluation.downstream.report import ratio_interval, seed_films_interval, summarise
from lungsynth.evaluation.downstream.run import real_counts
from lungsynth.evaluation.downstream.sets import filtered, named_sources
from lungsynth.evaluation.masks.figures import TruthSpec, dice
from lungsynth.evaluation.options import DownstreamOptions
from lungsynth.films.framing import whole
from lungsynth.training.segmenter import Fit

SMALL = Preset(
    pixels=32,
    steps=60,
    batch=4,
    widths=(8, 16),
    hidden=(8, 16, 16, 16),
    heads=(1, 1, 2, 2),
    decoder=16,
    fold_steps=40,
)


def pairs(n: int, start: int = 0, pixels: int = 32) -> Pairs:
    drawn = [film(start + i) for i in range(n)]
    images = np.stack([whole(image, pixels=pixels) for image, _ in drawn])
    masks = np.stack([whole(mask, pixels=pixels, nearest=True) // 255 for _, mask in drawn])
    names = [f"f{start + i}" for i in range(n)]
    return Pairs("films", images, masks, names, [""] * n, names, ("v7",), np.full(n, np.nan))


def write_synthetic(path: Path, n: int = 12, *, start: int = 500, **changed: Any) -> Path:
    """What `publish build` writes, as far as it is read here: ids 1 and 2, and a trust."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for i in range(n):
        image, mask = film(start + i)
        ids = np.where(mask == 255, 1 + (np.arange(mask.shape[1]) < mask.shape[1] // 2), 0)
        rows.append(
            {
                "id": f"s{i}",
                "image": {"bytes": png(image), "path": None},
                "mask": {"bytes": png(ids.astype(np.uint8)), "path": None},
                "trust": i / n,
                **changed,
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_and_the_same_call_gives_the_same_model(name: str) -> None:
    shown, unseen = pairs(12), pairs(4, start=100)
    models = []
    for _ in range(2):
        torch.rand(7)  # whatever the global state is
        model = build_model(name, SMALL, 3)
        models.append(
            train(
                model,
                shown.images,
                shown.masks,
                Fit(
                    batch=SMALL.batch,
                    steps=60,
                    lr=3e-3,
                    seed=1,
                ),
                augmentation="none",
            )
        )
    first, again = (foreground(m, unseen.images) for m in models)
    np.testing.assert_array_equal(first, again)
    truth = unseen.masks == 1
    assert dice(first, truth, np.ones_like(truth)) > 0.75
    before = foreground(build_model(name, SMALL, 3).eval(), unseen.images)
    assert dice(before, truth, np.ones_like(truth)) < 0.6


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_every_augmentation_trains_differently(augmentation: str) -> None:
    shown = pairs(4)
    weights = []
    for kind in (augmentation, AUGMENTATIONS[AUGMENTATIONS.index(augmentation) - 1]):
        model = train(
            build_model("unet", SMALL, 0),
            shown.images,
            shown.masks,
            Fit(
                batch=SMALL.batch,
                steps=2,
                lr=1e-3,
                seed=0,
            ),
            augmentation=kind,
        )
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert not torch.equal(*weights)


def test_spliced_masks_follow_their_films() -> None:
    shown = pairs(6)
    images = shown.masks * 200  # a picture that shows its own mask
    for seed in range(8):
        out, truth = splice(
            images, shown.masks, np.array([0, 1, 2, 3]), np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(out, truth * 200)
    spliced = (truth != shown.masks[:4]).any((1, 2))
    assert 0 < spliced.sum() < 4


def test_what_is_drawn_follows_the_share() -> None:
    shown = pairs(4)
    masks = shown.masks.copy()
    masks[:2] = 255  # these would teach nothing
    models = [
        train(
            build_model("unet", SMALL, 0),
            images,
            masks,
            Fit(
                batch=SMALL.batch,
                steps=3,
                lr=1e-3,
                seed=0,
            ),
            share=np.array([0, 0, 0.5, 0.5]),
        )
        for images in (shown.images, np.concatenate([255 - shown.images[:2], shown.images[2:]]))
    ]
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        assert torch.equal(a, b)


def test_noise_learning_ranks_wrong_masks_last() -> None:
    shown = pairs(18)
    wrong = [3, 8, 13]
    for i in wrong:
        shown.masks[i] = np.roll(shown.masks[i], 10, 0)
    shown.masks[5] = 0  # outside the allowed area
    scores = agreement(shown, SMALL, seed=0)
    assert scores[5] == 0
    assert set(wrong).isdisjoint(keep_best(scores, 0.7).tolist())


def test_subsets_are_nested_and_filters_keep_their_share() -> None:
    small, large = real_subset(40, 5, 1), real_subset(40, 25, 1)
    assert set(small) < set(large) and len(set(large)) == 25
    assert not np.array_equal(small, real_subset(40, 5, 2))
    assert keep_best(np.array([0.1, 0.9, 0.5, 0.9]), 0.5).tolist() == [1, 3]
    assert keep_best(np.array([0.1]), 0.01).tolist() == [0]


def test_intervals_are_over_films_and_seeds() -> None:
    rng = np.random.default_rng(0)
    films, seeds = (
        rng.multinomial(50, np.full(50, 1 / 50), 500),
        rng.multinomial(3, [1 / 3] * 3, 500),
    )
    level = np.array([0.5, 0.6, 0.7])[:, None]
    told = seed_films_interval(level + np.zeros((3, 50)), films, seeds)
    assert (
        told.value == pytest.approx(0.6) and 0.5 <= told.low < 0.55 and 0.65 < told.high <= 0.7001
    )
    noisy = rng.normal(0.6, 0.1, (1, 50)).repeat(3, 0)
    told = seed_films_interval(noisy, films, seeds)
    assert 0.03 < told.high - told.low < 0.09  # about 4 · 0.1 / sqrt(50)
    told = ratio_interval(2 * noisy, noisy, films, seeds)
    assert told.low == pytest.approx(2) and told.high == pytest.approx(2)


def test_comparisons_are_paired() -> None:
    def result(value: float) -> dict[str, Any]:
        films = np.linspace(0, 0.4, 10) + value
        return {"tests": {"t": [[d, d, 1.0, 0.5] for d in films.tolist()]}}

    cells = [
        (Cell(arm="real", model="unet", seed=s, n_real=n), result(v))
        for s in range(2)
        for n, v in ((1, 0.2), (9, 0.5))
    ]
    cells += [
        (Cell(arm="synthetic", model="unet", seed=s, synthetic="x"), result(0.5)) for s in range(2)
    ]
    cells += [
        (Cell(arm="synthetic+real", model="unet", seed=s, n_real=1, synthetic="x"), result(0.3))
        for s in range(2)
    ]
    figures = summarise(cells, {"t": [{}] * 10}, pixels=50, n_all=9)
    ratio, gain = figures["comparisons"]
    assert ratio["kind"] == "ratio" and ratio["dice"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert gain["dice"]["value"] == pytest.approx(0.1) == gain["dice"]["low"]
    arm = figures["arms"][0]
    assert arm["n_films"] == 10 and arm["seeds"] == 2 and arm["hd95_percent"]["value"] == 2.0
    assert arm["dice"]["value"] == pytest.approx(0.4) and arm["dice"]["low"] < 0.37


def test_the_trust_of_sampled_folders_is_read_and_filters(tmp_path: Path) -> None:
    """What `sample` writes: a folder a picture, its trust in record.json; none is unknown."""
    for i, trust in enumerate([0.9, 0.2, 0.6, 0.8]):
        image, mask = film(i)
        folder = tmp_path / f"p{i}"
        folder.mkdir()
        (folder / "image.png").write_bytes(png(image))
        (folder / "mask.png").write_bytes(png((mask == 255).astype(np.uint8)))
        (folder / "record.json").write_text(json.dumps({"trust": trust, "scores": {}}))
    partial = tmp_path / ".p4.partial"  # what a kill leaves of a picture
    partial.mkdir()
    (partial / "record.json").write_text("{}")
    read = read_synthetic("set", [tmp_path], pixels=32, convention="v7")
    assert dict(zip(read.ids, read.trust, strict=True)) == {
        "p0": 0.9,
        "p1": 0.2,
        "p2": 0.6,
        "p3": 0.8,
    }
    options = DownstreamOptions(synthetic=[], real=[], tests=[], out=tmp_path, keep=0.5)
    kept = filtered(read, "trust", options, SMALL, "cpu")
    assert sorted(kept.ids) == ["p0", "p3"]
    (tmp_path / "p1" / "record.json").write_text(json.dumps({"trust": None, "scores": {}}))
    read = read_synthetic("set", [tmp_path], pixels=32, convention="v7")
    with pytest.raises(DataError, match=r"1 picture\(s\) have no trust"):
        filtered(read, "trust", options, SMALL, "cpu")
    (tmp_path / "p2" / "mask.png").write_bytes(png(np.zeros((3, 3), np.uint8)))
    with pytest.raises(DataError, match=r"p2: mask is \(3, 3\), image is"):
        read_synthetic("set", [tmp_path], pixels=32)
    (tmp_path / "p2" / "mask.png").unlink()
    with pytest.raises(DataError, match=r"mask\.png: cannot be read"):
        read_synthetic("set", [tmp_path], pixels=32)


def test_a_published_folder_is_read_without_its_preview(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data" / "train-00000-of-00001.parquet", 6)
    write_synthetic(tmp_path / "preview" / "train-00000-of-00001.parquet", 3)
    read = read_synthetic("set", [tmp_path], pixels=32, convention="v7")
    assert read.ids == [f"s{i}" for i in range(6)] and set(np.unique(read.masks)) == {0, 1}
    np.testing.assert_allclose(read.trust, np.arange(6) / 6)
    one = read_synthetic("set", [tmp_path], pixels=32, mask_ids=[1])
    assert 0.3 < (one.masks == 1).sum() / (read.masks == 1).sum() < 0.7


def test_real_masks_are_read_with_their_patients(parquet: Path) -> None:
    read = read_real(str(parquet), split="train", pixels=64, truth=TruthSpec())
    assert len(read) == 11 and read.conventions == ("v7",) and "tiny/p0" in read.patients
    assert 0.1 < (read.masks == 1).mean() < 0.4
    with pytest.raises(DataError, match="no mask column 'label_map'"):
        read_real(
            str(parquet), split="train", pixels=64, truth=TruthSpec(), mask_column="label_map"
        )
    with pytest.raises(DataError, match="no pixel of value 7"):
        read_real(str(parquet), split="train", pixels=64, truth=TruthSpec(foreground=(7,)))


def test_counts_of_real_films() -> None:
    assert real_counts("", PRESETS["cpu"], 40) == (
        [1, 5, 10, 25, 40],
        ["Left out: n = 50, 100, there are 40 real films."],
    )
    assert real_counts("all,3", PRESETS["cpu"], 40) == ([3, 40], [])
    with pytest.raises(DataError, match="asks for 50 real films; there are 40"):
        real_counts("50", PRESETS["cpu"], 40)
    with pytest.raises(ConfigError, match="expected numbers and all"):
        real_counts("0", PRESETS["cpu"], 40)


def test_batches_move_from_the_first_films_to_the_last() -> None:
    shown: list[float] = []

    class Watching(torch.nn.Module):
        """Remembers the mean of each batch."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shown.append(float(x.mean()))
            return self.layer(x)  # type: ignore[no-any-return]

    dark, light = (np.full((3, 32, 32), v, np.uint8) for v in (0, 255))
    train(
        Watching(),
        np.concatenate([dark, light]),
        np.zeros((6, 32, 32), np.uint8),
        Fit(
            batch=SMALL.batch,
            steps=40,
            lr=1e-3,
            seed=0,
        ),
        augmentation="none",
        share=np.repeat([1 / 3, 0], 3),
        last_share=np.repeat([0, 1 / 3], 3),
    )
    assert shown[0] == pytest.approx(-1, abs=1e-3) and shown[-1] == pytest.approx(1, abs=1e-3)
    early, late = np.mean(shown[:20]), np.mean(shown[20:])
    assert -0.8 < early < -0.2 and 0.2 < late < 0.8, (early, late)


def test_names_of_synthetic_sets(tmp_path: Path) -> None:
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    a.touch(), b.touch()
    assert named_sources([f"x={a}", f"x={b}", str(a)]) == {"x": [a, b], "a": [a]}
    with pytest.raises(DataError, match="does not exist"):
        named_sources(["x=nowhere"])
    other = tmp_path / "other" / "a.parquet"
    other.parent.mkdir()
    other.touch()
    with pytest.raises(DataError, match="is called 'a' too"):  # they were measured as one set
        named_sources([str(a), str(other)])


@pytest.fixture
def call(parquet: Path, tmp_path: Path, run_cli: Any) -> Any:
    """`evaluate downstream` on tiny films; later arguments win."""
    synthetic = write_synthetic(tmp_path / "set.parquet")

    def run(
        *extra: object, real: Path = parquet, test: Path = parquet, drawn: Path = synthetic
    ) -> Any:
        return run_cli(
            "evaluate",
            "downstream",
            "--synthetic",
            drawn,
            "--real",
            real,
            "--test",
            test,
            "--preset",
            "tiny",
            "--synthetic-convention",
            "v7",
            "--seeds",
            1,
            "--models",
            "unet",
            "--out",
            tmp_path / "out",
            "--quiet",
            *extra,
        )

    return run


def test_the_command_measures_resumes_and_writes(call: Any, tmp_path: Path) -> None:
    ran = call("--seeds", 2, "--n", "1,all", "--filters", "all", "--steps", 2)
    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "out" / "downstream.json").read_text())
    titles = {(a["model"], a["arm"], a["n_real"], a["filter"]) for a in report["arms"]}
    assert len(titles) == len(report["arms"]) == 2 + 3 * (1 + 2 + 2)
    assert report["filters"] == {"set/none": 12, "set/trust": 6, "set/noise-learning": 6}
    assert report["real"]["n"] == 11 and report["preset"]["steps"] == 2
    assert "| synthetic+real (trust) | 11 |" in ran.out and "--filters" in report["command"]
    assert (tmp_path / "out" / "downstream.png").stat().st_size > 10_000
    cells = sorted((tmp_path / "out" / "cells").iterdir())
    assert len(cells) == 2 * len(titles)
    kept = {p: p.stat().st_mtime_ns for p in cells[1:]}
    text = cells[0].read_text()
    cells[0].unlink()
    again = call("--seeds", 2, "--n", "1,all", "--filters", "all", "--steps", 2)
    assert again.out == ran.out
    assert {p: p.stat().st_mtime_ns for p in cells[1:]} == kept  # only what was missing is made
    ours, theirs = json.loads(cells[0].read_text()), json.loads(text)
    assert ours["tests"] == theirs["tests"]
    other = call("--seeds", 2, "--n", "1,all", "--filters", "all", "--steps", 3)
    assert other.code == 1 and "was made with other films, options or version" in other.err


def test_leaks_are_errors(call: Any, parquet: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    ran = call("--test-split", "train")
    assert ran.code == 1 and "Leak: 11 film(s) of test set 'films' have the patient" in ran.err
    nameless = tmp_path / "nameless.parquet"
    pq.write_table(pq.read_table(parquet).drop_columns(["patient", "split"]), nameless)
    ran = call("--test-split", "", test=nameless)
    assert ran.code == 1 and "Leak: 11 film(s) of test set 'nameless' have the pixels" in ran.err
    drawn = write_synthetic(tmp_path / "copied.parquet", start=3)  # film 3 is a test film
    ran = call(drawn=drawn)
    assert ran.code == 1 and "have the pixels of a film of 'copied'" in ran.err
    assert not (tmp_path / "out" / "cells").exists()


def test_conventions_must_be_known_and_one(call: Any, parquet: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(parquet).drop_columns(["mask_convention"])
    other, silent = tmp_path / "other.parquet", tmp_path / "silent.parquet"
    pq.write_table(rows, silent)
    pq.write_table(
        rows.append_column("mask_convention", pa.array(["nlm: no heart"] * len(rows))), other
    )
    ran = call(test=silent)
    assert ran.code == 1 and "Mask convention of silent is unknown" in ran.err
    ran = call(test=other)
    assert ran.code == 1 and "several conventions" in ran.err and "other: nlm" in ran.err
    plain = ("--mixed-conventions", "--n", "all", "--arms", "real", "--steps", 2)
    ran = call(*plain, test=other)
    assert ran.code == 0 and "Mask conventions are mixed: nlm, v7" in ran.out


def test_unfit_sets_are_refused(call: Any, tmp_path: Path) -> None:
    from PIL import Image

    ran = call(drawn=write_synthetic(tmp_path / "few.parquet", 3))
    assert ran.code == 1 and "few: 3 film(s) with masks; need at least 8" in ran.err
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(film(0)[0]).save(folder / "0.png")
    ran = call(drawn=folder)
    assert ran.code == 1 and "pictures without masks" in ran.err
    small = {"bytes": png(np.zeros((8, 8), np.uint8)), "path": None}
    ran = call(drawn=write_synthetic(tmp_path / "sizes.parquet", mask=small))
    assert ran.code == 1 and "mask is (8, 8), image is (96, 112)" in ran.err
    ran = call("--filters", "trust", drawn=write_synthetic(tmp_path / "no.parquet", trust=None))
    assert ran.code == 1 and "12 picture(s) have no trust" in ran.err
    ran = call("--arms", "real,fake")
    assert (
        ran.code == 1 and "--arms 'real,fake'; expected all, or some of real, synthetic" in ran.err
    )
    ran = call("--mask-ids", "1;2")
    assert ran.code == 1 and "--mask-ids '1;2'; expected values such as 1,2" in ran.err
    ran = call("--pixels", 50)
    assert ran.code == 1 and "expected a multiple of 32" in ran.err
