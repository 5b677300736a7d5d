"""`train encoder`, then the three evaluations, from the command line."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from evaluation_films import fields_of, picture, write_films
from PIL import Image

from lungsynth.cli.main import cli
from lungsynth.errors import CheckpointError, DataError, OutputError
from lungsynth.evaluation.words.encoder_training import EncoderOptions

evaluate, train_encoder_command = (
    cli.commands["evaluate"],
    cli.commands["train"].commands["encoder"],
)


def call(command: Any, *args: object) -> Result:
    # click keeps the help option it first makes, so the names must be those of the whole program
    return CliRunner().invoke(command, [str(a) for a in args], help_option_names=["-h", "--help"])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films") / "films.parquet", 96)


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("runs") / "encoder"
    result = call(
        train_encoder_command,
        "--data",
        films,
        "--out",
        out,
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--quiet",
    )
    assert result.exception is None, result.output
    return out, result


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    lines = []
    for i in range(40):
        Image.fromarray(picture(500 + i)).save(folder / f"{i:03}.png")
        told = fields_of(i)
        asked = {
            "age_group": "child" if told["age"] == "1-5" else "adult",
            "view": told["view"],
            "finding": told["label"],
            "sex": told["sex"],
        }
        lines.append(json.dumps({"file": f"{i:03}.png", "prompt": "", "fields": asked}) + "\n")
    (folder / "records.jsonl").write_text("".join(lines))
    return folder


def test_train_encoder_reports_every_head_on_test_films(run: tuple[Path, Result]) -> None:
    out, result = run
    report = json.loads((out / "report.json").read_text())
    assert report["n_films"] == 24
    assert set(report["tasks"]) == {
        "age_group",
        "view (adults)",
        "finding (children)",
        "finding (adults)",
        "sex (adults)",
    }
    task = report["tasks"]["age_group"]
    assert sum(map(sum, task["confusion"])) == task["n"] == 24
    assert "balanced accuracy %" in result.output
    assert (out / "encoder" / "model.safetensors").is_file()


def test_the_same_command_again_changes_nothing(films: Path, run: tuple[Path, Result]) -> None:
    out, _ = run
    before = (out / "encoder" / "model.safetensors").read_bytes()
    again = call(
        train_encoder_command,
        "--data",
        films,
        "--out",
        out,
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--quiet",
        "--test-split",
        "",
    )
    assert again.exception is None
    assert (out / "encoder" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 7),
        ("batch_size", 3),
        ("lr", 0.5),
        ("seed", 9),
        ("precision", "bf16"),
        ("max_minutes", 2.0),
        ("sample_every", 5),
    ],
)
def test_every_option_reaches_the_run(option: str, value: object, tmp_path: Path) -> None:
    assert option in {f.name for f in fields(EncoderOptions)}
    result = call(
        train_encoder_command,
        "--data",
        "x",
        "--out",
        tmp_path,
        "--preset",
        "tiny",
        "-n",
        "--" + option.replace("_", "-"),
        value,
    )
    assert json.loads(result.output)[option] == value


@pytest.mark.parametrize("name", ["fidelity", "obedience", "neighbours"])
def test_evaluations_write_a_report_and_print_a_table(
    name: str, films: Path, run: tuple[Path, Result], drawn: Path, tmp_path: Path
) -> None:
    args = [
        name,
        "--data",
        films,
        "--synthetic",
        drawn,
        "--encoder",
        run[0] / "encoder",
        "--out",
        tmp_path,
        "--quiet",
    ]
    if name == "fidelity":
        args += ["--subsamples", 20, "--pairs", 8]
    first = call(evaluate, *args)
    assert first.exception is None, first.output
    report = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(report["encoder"]) == 16
    assert len(first.stdout.splitlines()) >= 4
    if name == "fidelity":
        assert report["groups"]["all"]["n"] == 24
        assert report["extractor"]["checksum"] == report["encoder"]
        assert {"precision", "recall", "density", "coverage"} <= set(report["groups"]["all"])
    if name == "obedience":
        assert report["tasks"]["age_group"]["synthetic"]["n"] == 40
    if name == "neighbours":
        assert report["n"] == {"synthetic": 40, "train": 48, "test": 24}
        with Image.open(tmp_path / "closest_correlation.png") as sheet:
            assert sheet.size[0] == 8 * 192
    again = call(evaluate, *args)
    assert again.stdout == first.stdout
    assert json.loads((tmp_path / f"{name}.json").read_text()) == report


def test_fidelity_by_radiomics(films: Path, drawn: Path, tmp_path: Path) -> None:
    result = call(
        evaluate,
        "fidelity",
        "--data",
        films,
        "--synthetic",
        drawn,
        "--encoder",
        "radiomics",
        "--limit",
        16,
        "--no-match",
        "--subsamples",
        20,
        "--pairs",
        2,
        "--out",
        tmp_path,
        "--quiet",
    )
    assert result.exception is None, result.output
    report = json.loads((tmp_path / "fidelity.json").read_text())
    assert report["extractor"]["name"] == "radiomics" and report["groups"]["all"]["n"] == 16
    assert "comparable with nothing published" in result.stdout


def test_limit_and_parquet_samples(films: Path, run: tuple[Path, Result], tmp_path: Path) -> None:
    result = call(
        evaluate,
        "obedience",
        "--data",
        films,
        "--synthetic",
        films,
        "--limit",
        10,
        "--encoder",
        run[0] / "encoder",
        "--out",
        tmp_path,
        "--quiet",
    )
    assert result.exception is None, result.output
    report = json.loads((tmp_path / "obedience.json").read_text())
    assert (report["n_synthetic"], report["n_real"]) == (10, 10)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"--image-column": "picture"}, DataError, "No image column 'picture'.*--image-column"),
        ({"--test-split": "nowhere"}, DataError, "No film has split='nowhere'"),
        ({"--synthetic": "gone"}, DataError, "gone: no such folder"),
        ({"--encoder": "gone"}, CheckpointError, "no encoder here"),
        # the place of the report is tried before anything is read
        ({"--out": "/dev/null/x", "--synthetic": "gone"}, OutputError, "cannot be written"),
    ],
)
def test_bad_input_is_named(
    change: dict[str, str],
    kind: type[Exception],
    words: str,
    films: Path,
    drawn: Path,
    run: tuple[Path, Result],
    tmp_path: Path,
) -> None:
    options = {
        "--data": films,
        "--synthetic": drawn,
        "--encoder": run[0] / "encoder",
        "--out": tmp_path,
        **change,
    }
    result = call(evaluate, "obedience", "--quiet", *[x for kv in options.items() for x in kv])
    assert isinstance(result.exception, kind)
    import re

    assert re.search(words, str(result.exception))
