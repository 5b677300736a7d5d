"""Links, dataset rows and code that draw the same again: without a browser."""

from __future__ import annotations

import io
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from publishing import build_options, run_publish

from lungsynth.errors import ConfigError, DataError, LungSynthError, ShapeError
from lungsynth.masks.crf import CrfConfig
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.permalink import Permalink, of_row, read_query, refine_texts, row_query, to_query
from space.draw import actions, study, tuning
from space.share import archive, links

CONFIG = RefineConfig(
    method="none",
    gammas=(0.25, 1 / 3),
    beta=3.7,
    crf=CrfConfig(theta_beta=4.0, unary="hard"),
    clean_up=False,
    ignore_band=0.2,
)


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(checkpoint))


def draw(asked: Permalink) -> study.Study:
    """What the page draws for a link."""
    *_, drawn = actions.draw(
        asked.prompt,
        asked.seed,
        asked.steps,
        asked.guidance,
        previews=False,
        size=asked.size,
        scheduler=asked.scheduler,
        precision=asked.precision,
        convention=asked.classes,
        tuning=tuning.tuning_of([*tuning.shown(asked.config()).values(), asked]),
    )
    return drawn.study


def test_a_link_asks_for_the_same_again():
    asked = Permalink(
        "chest & “lung” #1 +50%",
        2**53 - 1,
        7,
        2.5,
        "320x256",
        "euler",
        "bf16",
        "nlm",
        refine_texts(CONFIG),
        "abc123",
        "s0-0000001",
    )
    address = links.link(asked, "https://lab-page.hf.space")
    assert address.startswith("https://lab-page.hf.space/?prompt=")
    assert links.read_link(address.split("?")[1]) == asked and asked.config() == CONFIG
    assert asked.pixels() == (256, 320)
    assert links.link(asked, 'https://x" onload="alert(1)').startswith(links.LOCAL)
    assert to_query(Permalink("a")) == "prompt=a&seed=0&steps=20&guidance=1.5"


def test_a_link_without_a_prompt_asks_for_nothing():
    assert links.read_link("") is None and links.read_link({"__theme": "dark"}) is None
    assert links.read_link("?prompt=chest&utm_source=x") == Permalink("chest")


@pytest.mark.parametrize(
    "query",
    [
        "seed=nan",
        "seed=-1",
        "steps=1000",
        "guidance=inf",
        "guidance=nan",
        "seed=1e9",
        "size=big",
        "size=-3",
        "scheduler=<b>",
        "row=a b",
        "beta=wide",
        "beta=0",
        "method=magic",
        "crf.theta_beta=-1",
        "clean_up=maybe",
        "gammas=2",
    ],
)
def test_a_link_with_an_impossible_value_is_refused_in_words(query):
    with pytest.raises(ConfigError, match=r"expected|there are|is no|unknown"):
        links.read_link("prompt=a&" + query)


@pytest.mark.parametrize("every", [False, True])
def test_a_configuration_survives_as_text(every):
    assert with_values(RefineConfig(), refine_texts(CONFIG, every=every)) == CONFIG
    assert refine_texts(RefineConfig()) == ()


def test_controls_that_stay_where_a_link_put_them_mean_its_exact_values():
    asked = Permalink(
        "a", refine=("method=cross", "beta=3.7", "crf.theta_beta=100", "min_part=0.1")
    )
    values = [*tuning.shown(asked.config()).values(), asked]
    assert values[1] == 3.5 and values[4] == 60
    assert tuning.tuning_of(values).config(RefineConfig()) == asked.config()
    values[1] = 4.0
    moved = tuning.tuning_of(values).config(RefineConfig())
    assert (moved.beta, moved.crf.theta_beta, moved.min_part) == (4.0, 100.0, 0.1)
    assert tuning.unseen(asked) == ["min_part=0.1"]
    plain = tuning.tuning_of([*tuning.shown(RefineConfig()).values(), None])
    assert plain.config(RefineConfig()) == RefineConfig()
    crossed = [*tuning.shown(RefineConfig()).values(), None]
    crossed[0] = "cross"
    assert len(tuning.tuning_of(crossed).config(RefineConfig()).gammas) == tuning.PAGE_GAMMAS


def test_the_link_of_a_picture_draws_picture_and_mask_again():
    config = replace(CONFIG, ignore_band=0.0)
    first = draw(Permalink("chest, pneumonia", 5, 2, 3.0, "128x64", refine=refine_texts(config)))
    assert first.image.shape == (64, 128) and len(np.unique(first.made.mask)) > 1
    asked = archive.permalink_of(first)
    assert asked.size == "128x64" and asked.config() == config
    again = draw(read_query(links.link(asked).split("?")[1]))
    assert archive.archive(again) == archive.archive(first)
    assert archive.permalink_of(draw(Permalink("chest", 5, 2, 3.0, "64"))).size == ""
    other = study.make(again, tuning.Tuning(ignore_band=0.4))
    assert not np.array_equal(other.mask, first.made.mask)
    assert "ignore_band=0.4" in archive.permalink_of(again).refine


@pytest.mark.parametrize(
    ("size", "n", "kind"),
    [
        ("65", 1, ShapeError),
        ("256", 1, ShapeError),
        ("128", 2, ShapeError),
        ("wide", 1, ConfigError),
    ],
)
def test_sizes_that_cannot_be_drawn_or_kept_are_refused(size, n, kind):
    with pytest.raises(kind, match=r"expected|more than the page keeps"):
        next(actions.draw("chest", 0, 1, 1.0, n, size=size))


def test_the_sizes_a_checkpoint_can_draw_are_offered():
    state = actions.model_state()
    assert state.side == 64 and state.sides == (32, 64, 96, 128)
    for side in state.sides:
        assert actions.check_size(actions.synthesizer(), str(side)) in ("", str(side))


def test_the_python_on_the_page_draws_the_same(tmp_path, monkeypatch, checkpoint):
    config = RefineConfig(crf=CrfConfig(theta_beta=4.0), ignore_band=0.2)
    asked = Permalink(
        "chest \"x\" 'ray'", 5, 2, 3.0, "128x64", "euler", refine=refine_texts(config)
    )
    code = links.python_snippet(asked, model=str(checkpoint))
    assert "RefineConfig(crf=CrfConfig(theta_beta=4.0), ignore_band=0.2)" in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {})
    drawn = draw(asked)
    for name, pixels in (("image", drawn.image), ("mask", drawn.made.mask)):
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert np.array_equal(np.asarray(picture), pixels)
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["refine"]["ignore_band"] == 0.2
    assert "RefineConfig" not in links.python_snippet(Permalink("chest"))
    named = links.python_snippet(Permalink("a", precision="bf16", classes="nlm"))
    assert "precision='bf16'" in named and "Synthesizer('mini', classes='nlm')" in named


def test_the_shell_command_quotes_what_was_typed_and_carries_every_setting():
    asked = Permalink(
        "it's $(reboot) `x`",
        1,
        size="320",
        classes="v7",
        weights="ab",
        row="r",
        refine=refine_texts(CONFIG),
    )
    code = links.curl_snippet(asked, "http://127.0.0.1:9")
    parts = shlex.split(code.split("| cut")[0].removeprefix("id=$(").replace("\\\n", ""))
    assert parts[2] == "http://127.0.0.1:9/gradio_api/call/generate"
    prompt, seed, steps, guidance, method, settings = json.loads(parts[-1])["data"]
    assert (prompt, seed, steps, guidance, method) == (asked.prompt, 1, 20, 1.5, "")
    read = links.read_settings(settings)
    assert (read.size, read.classes, read.config(), read.row) == ("320", "v7", CONFIG, "")


@pytest.mark.parametrize("settings", ["seed=3", "colour=red", "beta", "size=", "<b>=1"])
def test_settings_that_are_none_are_refused(settings):
    if settings == "size=":
        assert links.read_settings(settings) == Permalink("-", precision="auto")
        return
    with pytest.raises(ConfigError, match=r"there are|is no"):
        links.read_settings(settings)


@pytest.fixture(scope="module")
def rows(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of a small dataset as `publish build` writes them."""
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("dataset")
    settings = folder / "release.yaml"
    settings.write_text("refine: {min_part: 0.02, crf: {theta_beta: 9.0}}\n")
    ran = run_publish(*build_options(checkpoint, folder / "dist", "--config", settings, "--n", 4))
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = []
    for shard in sorted((folder / "dist").rglob("data/*.parquet")):
        found += pq.read_table(shard).to_pylist()
    return found


def test_a_dataset_row_opens_on_the_page_with_the_same_pixels(rows):
    row = rows[-1]
    asked = links.read_link(row_query(row))
    assert asked is not None and asked.row == row["id"] and asked.weights == row["model_hash"]
    assert asked.config().min_part == 0.02 and asked.config().crf.theta_beta == 9.0
    drawn = draw(asked)
    for column, pixels in (("image", drawn.image), ("mask", drawn.made.mask)):
        cell = np.asarray(Image.open(io.BytesIO(row[column]["bytes"])))
        assert np.array_equal(cell, pixels) and len(np.unique(cell)) > 1, column
    opened = Permalink(**{**{name: getattr(asked, name) for name in asked.__slots__}, "size": ""})
    assert archive.permalink_of(drawn, opened).row == row["id"]
    assert archive.permalink_of(draw(Permalink("chest", 5, 2, 3.0)), opened).row == ""


def test_a_row_as_datasets_gives_it_has_the_same_link(rows):
    row = rows[0]
    decoded = row | {"image": Image.open(io.BytesIO(row["image"]["bytes"]))}
    assert row_query(decoded) == row_query(row) and "size=64" in row_query(row)
    bare = of_row({"prompt": "chest", "seed": 3})
    assert bare == Permalink("chest", 3)
    full = of_row({"prompt": "chest", "seed": 3, "refine": json.dumps(asdict(CONFIG))})
    assert full.config() == CONFIG and "n_rounds=2" in full.refine


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": "a"},
        {"prompt": "", "seed": 1},
        {"prompt": "a", "seed": 1, "refine": "[1]"},
        {"prompt": "a", "seed": 1, "refine": '{"strength": 3}'},
    ],
)
def test_a_row_that_cannot_be_drawn_again_is_refused(row):
    with pytest.raises(DataError, match=r"expected|cannot be read"):
        row_query(row)
    assert issubclass(DataError, LungSynthError)
