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
from space.draw.model import MODEL_VARIABLE, model_state, synthesizer
from space.page import opening
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
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))


def draw(asked: Permalink) -> study.Study:
    """What the page draws for a link."""
    made = tuning.tuning_of([*tuning.shown(asked.config()).values(), asked])
    *_, drawn = actions.draw(asked, tuning=made, previews=False)
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
        (200.0, 812.5),
    )
    address = links.link(asked, "https://lab-page.hf.space")
    assert address.startswith("https://lab-page.hf.space/?prompt=")
    assert links.read_link(address.split("?")[1]) == asked and asked.config() == CONFIG
    assert asked.pixels() == (256, 320)
    assert links.link(asked, 'https://x" onload="alert(1)').startswith(links.LOCAL)
    assert "guidance_interval=200%2C812.5" in address
    assert links.settings_of(asked).startswith("guidance_interval=")
    assert links.read_settings(links.settings_of(asked)).guidance_interval == (200.0, 812.5)
    assert to_query(Permalink("a")) == "prompt=a&seed=0&steps=15&guidance=1.5"


def test_a_link_without_a_prompt_asks_for_nothing():
    assert links.read_link("") is None and links.read_link({"__theme": "dark"}) is None
    assert links.read_link("?prompt=chest&utm_source=x") == Permalink("chest")


BROKEN = {
    "seed=": "a whole number from 0 to 9,007,199,254,740,991",
    "seed=nan": "a whole number from 0",
    "seed=-1": "a whole number from 0",
    "seed=1e9": "a whole number from 0",
    "seed=9007199254740992": "a whole number from 0",
    "steps=0": "a whole number from 1 to 100",
    "steps=500": "a whole number from 1 to 100",
    "steps=9999": "a whole number from 1 to 100",
    "steps=2.5": "a whole number from 1 to 100",
    "guidance=inf": "a number from 1 to 20",
    "guidance=nan": "a number from 1 to 20",
    "guidance=0": "a number from 1 to 20",
    "guidance_interval=200": "two timesteps from 0 to 1000",
    "guidance_interval=800,200": "two timesteps from 0 to 1000",
    "guidance_interval=0,nan": "two timesteps from 0 to 1000",
    "size=0": "expected pixels, as 256 or 320x256",
    "size=0x256": "expected pixels, as 256 or 320x256",
    "size=big": "expected pixels, as 256 or 320x256",
    "size=-3": "expected pixels, as 256 or 320x256",
    "size=65": "expected a multiple of 32 from 32 to 256",
    "size=9999": "expected a multiple of 32 from 32 to 256",
    "scheduler=<b>": "there are ddim",
    "scheduler=magic": "there are ddim",
    "precision=fp7": "there are auto, fp32, bf16",
    "classes=../../etc": "expected letters and digits",
    "classes=other": "It asks for masks by the rule `other`; there are: ",
    "row=a b": "expected letters and digits",
    "weights=zzz": "expected the hash of a checkpoint",
    "method=magic": "'magic' is unknown; there are affinity, crf",
    "method=sequential": "this checkpoint can do",
    "beta=wide": "beta=wide: expected a number",
    "beta=0": "expected a number above 0",
    "n_steps=1.5": "n_steps=1.5: expected a whole number",
    "gammas=2": "expected one level or more",
    "gammas=a,b": "expected numbers with commas",
    "ignore_band=0.9": "expected 0 (off) or more, under 0.5",
    "min_part=-1": "expected 0 or more and under 1",
    "clean_up=maybe": "expected true or false",
    "student_weight=7": "expected 0 to 1",
    "crf.theta_beta=-1": "expected a width above 0",
    "crf.unary=magic": "there are soft, hard",
    "crf.magic=3": "there are method",
}
"""What a link may say wrongly -> a part of the sentence that tells it."""


@pytest.mark.parametrize("broken", BROKEN)
def test_a_link_with_a_broken_value_is_told_in_a_sentence_and_the_page_opens(broken, monkeypatch):
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(
        opening.gr, "Warning", lambda said, title, duration: told.append((title, said))
    )
    plain = opening.opened_with({})
    name, _, value = broken.partition("=")
    found = opening.opened_with({"prompt": "chest", name: value})
    [(title, said)] = told
    assert title == "Link not used" and BROKEN[broken] in said
    assert said.endswith(".") and len(said) < 400
    assert found == plain  # as without a link, and nothing is drawn


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
    first = draw(
        Permalink(
            "chest, pneumonia",
            5,
            2,
            3.0,
            "128x64",
            refine=refine_texts(config),
            guidance_interval=(0.0, 600.0),
        )
    )
    assert first.image.shape == (64, 128) and len(np.unique(first.made.mask)) > 1
    asked = archive.permalink_of(first)
    assert asked.size == "128x64" and asked.config() == config
    assert tuning.unseen(asked)[-1] == "guidance_interval=0,600"
    everywhere = draw(replace(asked, guidance_interval=None))
    assert not np.array_equal(everywhere.image, first.image)
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
        next(actions.draw(Permalink("chest", 0, 1, 1.0, size), n))


def test_the_sizes_a_checkpoint_can_draw_are_offered():
    state = model_state()
    assert state.side == 64 and state.sides == (32, 64, 96, 128)
    for side in state.sides:
        assert actions.check_size(synthesizer(), str(side)) in ("", str(side))


def test_the_python_on_the_page_draws_the_same(tmp_path, monkeypatch, checkpoint):
    config = RefineConfig(crf=CrfConfig(theta_beta=4.0), ignore_band=0.2)
    asked = Permalink(
        "chest \"x\" 'ray'",
        5,
        2,
        3.0,
        "128x64",
        "euler",
        refine=refine_texts(config),
        guidance_interval=(100.0, 900.0),
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
    assert (prompt, seed, steps, guidance, method) == (asked.prompt, 1, asked.steps, 1.5, "")
    read = links.read_settings(settings)
    assert (read.size, read.classes, read.config(), read.row) == ("320", "v7", CONFIG, "")


@pytest.mark.parametrize("settings", ["seed=3", "colour=red", "beta", "size=", "<b>=1"])
def test_settings_that_are_none_are_refused(settings):
    if settings == "size=":
        assert links.read_settings(settings) == Permalink("-", precision="auto")
        return
    with pytest.raises(ConfigError, match=r"there are|is no|expected"):
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
