"""The learning curve of consecutive runs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.curve import MAX_BYTES, MAX_POINTS, curve, figures_in, merged, read_peek
from lungsynth.errors import DataError


def write_run(folder: Path, steps: range, *, batch: int, loss: float) -> Path:
    """A run's options and metrics, with a line that was cut by a kill."""
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps({"batch_size": batch, "steps": 99}))
    lines = [
        json.dumps({"step": step, "loss": loss / step, "mse": 0.5, "grounding": 1.0, "lr": 1e-4})
        for step in steps
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9, "lo')
    return folder


def test_runs_follow_each_other_in_image_steps(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", range(10, 60, 10), batch=64, loss=1.0)
    second = write_run(tmp_path / "b", range(10, 40, 10), batch=32, loss=0.1)
    told = merged([f"{first}=30", str(second)], [], 1000)
    assert [(run["first"], run["last"]) for run in told["runs"]] == [(1000, 2920), (2920, 3880)]
    steps = [[point["image_steps"] for point in run["points"]] for run in told["runs"]]
    assert steps == [[1640, 2280, 2920], [3240, 3560, 3880]]
    assert told["image_steps"] == 3880
    assert set(told["runs"][0]["points"][0]) == {"image_steps", "loss", "mse", "grounding"}


def test_a_long_run_is_thinned_by_means(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", range(1, 1001), batch=1, loss=1.0)
    (stretch,) = merged([str(run)], [], 0)["runs"]
    assert len(stretch["points"]) == MAX_POINTS
    values = [1 / step for step in range(1, 1001)]
    block = len(values) // MAX_POINTS + 1  # of the first blocks
    assert stretch["points"][0]["loss"] == pytest.approx(sum(values[:block]) / block, rel=1e-3)


def test_figures_of_reports_and_of_plain_numbers() -> None:
    hearing = {"facts": {"sex": {"share": {"value": 0.812}}}}
    assert dict(figures_in(hearing)) == {"right caption wins, sex": 81.2}
    obedience = {"tasks": {"view": {"balanced_accuracy_points": {"value": -3.04}}, "sex": {}}}
    assert dict(figures_in(obedience)) == {"obeyed minus real, view": -3.04}
    assert dict(figures_in({"sex": [79.7, 64], "secs": 3, "ok": True})) == {"sex": 79.7, "secs": 3}


def test_the_command_writes_json_and_a_small_picture(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", range(1, 400), batch=64, loss=1.0)
    peek = tmp_path / "peek.json"
    peek.write_text(json.dumps({"sex": [79.7, 64]}))
    out = tmp_path / "results" / "learning-curve.json"
    done = CliRunner().invoke(
        curve, [str(run), "--peek", f"6400={peek}", "--peek", f"640={peek}", "--out", str(out)]
    )
    assert done.exception is None, done.output
    told = json.loads(out.read_text())
    assert [one["image_steps"] for one in told["judged"]] == [640, 6400]
    assert str(tmp_path) not in out.read_text()
    picture = out.with_suffix(".png").read_bytes()
    assert len(picture) <= MAX_BYTES
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG" and min(image.size) > 200


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tells no batch size"):
        merged([str(tmp_path)], [], 0)
    run = write_run(tmp_path / "a", range(1, 3), batch=1, loss=1.0)
    with pytest.raises(DataError, match=r"expected FOLDER or FOLDER=STEP"):
        merged([f"{run}=last"], [], 0)
    (run / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"no line with a `step`"):
        merged([str(run)], [], 0)
    for text in ("here.json", "x=here.json", "12="):
        with pytest.raises(DataError, match=r"expected IMAGE_STEPS=FILE"):
            read_peek(text)
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(DataError, match=r"no figure in it"):
        read_peek(f"1={tmp_path / 'none.json'}")
