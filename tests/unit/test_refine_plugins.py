"""A refinement of another package: one file, one registration, known everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

PLUGIN = """
import numpy as np

from lungsynth.masks import fusion
from lungsynth.masks.registry import refinement


@refinement("mirror", needs_affinity=True, stage="Mirrored", about="The walk and its mirror image.")
def mirror(p, image, config, affinity):
    walked = fusion.affinity(p, affinity, beta=config.beta, n_steps=config.n_steps)
    return np.ascontiguousarray((walked + walked[..., ::-1]) / 2)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Python beside a folder that holds the plugin."""
    (tmp_path / "my_refinements.py").write_text(PLUGIN)

    def call(*args: str, plugins: str = "my_refinements") -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "tests")])
        env = os.environ | {"PYTHONPATH": path, "LUNGSYNTH_PLUGINS": plugins}
        return subprocess.run(
            [sys.executable, *args], capture_output=True, text=True, env=env, cwd=tmp_path
        )

    return call


@pytest.mark.parametrize("command", [("sample",), ("segment",), ("evaluate", "masks")])
def test_help_lists_it(run: Run, command: tuple[str, ...]) -> None:
    assert "mirror" in run("-m", "lungsynth", *command, "--help").stdout
    assert "mirror" not in run("-m", "lungsynth", *command, "--help", plugins="").stdout


def test_it_runs_in_other_processes_the_page_and_a_release(run: Run) -> None:
    done = run(
        "-c",
        """
import json, dataclasses
import numpy as np
from phantom import phantom
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.refine import RefineConfig, refine, refine_many, with_values
from publish.data.settings import read_settings
from space.draw.study import Study, make
from space.draw.tuning import Tuning
from pathlib import Path

if __name__ == "__main__":
    shape = phantom()
    config = with_values(RefineConfig(), ["method=mirror"])
    here = refine(shape.probability, shape.image, config, shape.field)
    [there] = refine_many([shape.probability], [shape.image], config, [shape.field], workers=2)
    specs = [ClassSpec(k, f"part {k}", word="lung", organ="lung") for k in range(1, len(shape.probability))]
    study = Study("a", 1, 20, 1.5, shape.image, shape.probability, specs, shape.field,
                  RefineConfig(), {}, {})
    made = make(study, Tuning(method="mirror"))
    Path("release.yaml").write_text("{n: 8, refine: {method: mirror}}")
    print(json.dumps({
        "same": bool(np.array_equal(here, there)),
        "stages": [title for title, *_ in made.stages],
        "record": dataclasses.asdict(made.config)["method"],
        "release": read_settings(Path("release.yaml")).refine.method,
    }))
""",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "same": True,
        "stages": ["Threshold", "Mask"],  # the page names stages of the chain alone
        "record": "mirror",
        "release": "mirror",
    }


def test_one_that_cannot_be_imported_is_named_where_it_is_missed(run: Run) -> None:
    done = run(
        "-c",
        "from lungsynth.masks.refine import RefineConfig, check_config;"
        "check_config(RefineConfig(method='mirror'))",
        plugins="no_such_module",
    )
    assert "'mirror' is unknown" in done.stderr
    assert "Plugin no_such_module could not be imported (ModuleNotFoundError" in done.stderr


def test_steps_are_kept_by_what_they_depend_on() -> None:
    from phantom import phantom

    from lungsynth.masks import fusion
    from lungsynth.masks.fusion import Store, digest, keeping

    shape, store = phantom(), Store()
    p = shape.probability
    with keeping(store):
        one = fusion.affinity(p, shape.field)
        assert fusion.affinity(p.copy(), shape.field) is one  # equal values, the same result
        assert fusion.affinity(p, shape.field, beta=2.0) is not one
        several = fusion.propose(p, shape.image, (0.4, 0.5))
        assert fusion.propose(p, shape.image, (0.4, 0.5)) is several
        assert fusion.propose(p, shape.image, (0.4, 0.6)) is not several
    assert (
        fusion.affinity(p, shape.field, beta=2.0) is not store["walk"][1]
    )  # outside nothing is kept
    assert np.array_equal(fusion.affinity(p, shape.field, beta=2.0), store["walk"][1])
    assert digest(np.zeros((2, 3))) != digest(np.zeros((3, 2)))
