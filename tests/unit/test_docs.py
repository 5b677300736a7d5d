"""Code in the documents: every block is parsed by what it is for, so that no option in it is made up.

Blocks of Python that take a model are run by slow tests; those that take the Hub by the tests named in
`RUN_ELSEWHERE`. Shell blocks draw, train and publish for hours, so their commands are parsed, not run.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "annotations" / "README.md",
    *sorted((ROOT / "lungsynth" / "checkpoints").glob("*/README.md")),
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"bash", "python", "yaml", ""}
"""What is handled below; without a name: a picture in letters."""

STUBS = ("python", "pip", "git", "hf", "apt-get", "benchmarks/arms.sh")
"""Programs of shell blocks; everything else in them the shell itself must know."""

VARIABLES = {"DATA": "--data films.parquet", "PORT": "8000"}
RUN_ELSEWHERE = ("snapshot_download", "hf_hub_download", "dataset[")
"""Signs of Python that needs the Hub (`test_publish_hub_loading`, `test_publish_export`) or rows."""


def blocks(language: str) -> list[tuple[str, str]]:
    """(place, code) of every block of a language."""
    found = []
    for path in DOCUMENTS:
        for k, (name, code) in enumerate(BLOCK.findall(path.read_text(encoding="utf-8"))):
            if name == language:
                found.append((f"{path.relative_to(ROOT)}#{k}", code))
    return found


def test_every_block_is_of_a_language_that_is_checked():
    for path in DOCUMENTS:
        told = {name for name, _ in BLOCK.findall(path.read_text(encoding="utf-8"))}
        assert told <= LANGUAGES, path


def commands(code: str, folder: Path) -> list[list[str]]:
    """The programs a shell block starts, with their words, as the shell itself expands them."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    stubs = "".join(
        f"{name}() {{ printf '%s\\0' {name} \"$@\" >> {log}; printf '\\n\\0' >> {log}; }}\n"
        for name in STUBS
    )
    variables = "".join(f"{name}='{value}'\n" for name, value in VARIABLES.items())
    program = f"set -eu\n{stubs}{variables}{code}"
    done = subprocess.run(
        ["bash", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    words = log.read_text(encoding="utf-8").split("\0") if log.exists() else []
    found: list[list[str]] = [[]]
    for word in words[:-1]:
        if word == "\n":
            found.append([])
        elif word != "…":
            found[-1].append(word)
    return found[:-1]


def entry(module: str) -> Any:
    """The command line behind `python -m MODULE`; None when it is none of ours."""
    homes = {"lungsynth": "lungsynth.cli.main", "publish": "publish.cli"}
    homes["benchmarks"] = "benchmarks.__main__"
    if module.split(".")[0] not in homes:
        return None
    loaded = importlib.import_module(homes.get(module, module))
    return getattr(loaded, "cli", None) or getattr(loaded, "main", None)


def parse(words: list[str]) -> None:
    """Let a command line parse its words; nothing is run."""
    if words[0] != "python" or words[1] != "-m":
        assert words[0] != "python" or (ROOT / words[1]).is_file(), words
        return
    module, rest = words[2], words[3:]
    if module == "pytest":
        paths = [w for w in rest if w.startswith("tests/")]
        assert all((ROOT / path).exists() for path in paths), paths
        return
    command = entry(module)
    if not isinstance(command, click.Command):
        assert command is not None or module in ("hub", "app"), f"python -m {module} is nothing"
        return
    while isinstance(command, click.Group):
        assert rest and rest[0] in command.commands, f"{' '.join(words)}: no such command"
        command, rest = command.commands[rest[0]], rest[1:]
    # as below its group: click keeps the first help option it makes with the command
    command.make_context(str(command.name), list(rest), help_option_names=["-h", "--help"])


@pytest.fixture
def any_path(monkeypatch):
    """Files named in documents are not here."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: Path(value))


@pytest.mark.parametrize(("place", "code"), blocks("bash"))
def test_commands_have_the_options_they_are_given(place, code, tmp_path, any_path):
    found = commands(code, tmp_path)
    assert found, f"{place}: no command in it"
    for words in found:
        try:
            parse(words)
        except click.ClickException as error:
            pytest.fail(f"{place}: {' '.join(words)}: {error.format_message()}")


def test_a_made_up_option_would_be_found(tmp_path, any_path):
    [words] = commands("python -m publish check dist/ --thorough", tmp_path)
    with pytest.raises(click.NoSuchOption):
        parse(words)
    [words] = commands("X='a b'; python -m publish $X", tmp_path)
    assert words == ["python", "-m", "publish", "a", "b"]
    with pytest.raises(AssertionError, match="no such command"):
        parse(words)


@pytest.mark.parametrize(("place", "code"), blocks("python"))
def test_python_compiles_and_imports_what_there_is(place, code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            missing = [one.name for one in node.names if not hasattr(module, one.name)]
            assert not missing, f"{place}: {node.module} has no {missing}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "code"),
    [one for one in blocks("python") if not any(sign in one[1] for sign in RUN_ELSEWHERE)],
)
def test_python_runs_in_a_bare_process(place, code, tmp_path):
    """From the root, as a reader would, but with fewer steps, and within ten minutes."""
    code = code.replace("steps=20", "steps=2")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{place}: {done.stderr}"


def test_settings_in_documents_are_settings():
    from publish.data.settings import Settings, from_mapping

    found = blocks("yaml")
    found.append(("examples/release.yaml", (ROOT / "examples/release.yaml").read_text()))
    assert len(found) > 1
    for place, code in found:
        assert from_mapping(Settings, yaml.safe_load(code), place).n > 0


def test_the_workflow_says_what_the_programs_take(tmp_path, any_path):
    told = yaml.safe_load((ROOT / "examples" / "publish-workflow.yml").read_text())
    job = told["jobs"]["publish"]
    assert job["permissions"]["id-token"] == "write"
    steps = {one["name"]: one for one in job["steps"] if "name" in one}
    assert [*steps] == ["Build", "Check", "Push"]
    assert [name for name, one in steps.items() if "HF_OIDC_RESOURCE" in one.get("env", {})] == [
        "Push"
    ]
    for one in steps.values():
        [words] = commands("GITHUB_REF_NAME=data-v1.2.0\n" + one["run"], tmp_path)
        parse(words)
    assert words[words.index("--tag") + 1] == "v1.2.0"
    deadline = float(words[words.index("--deadline") + 1])
    assert deadline < 60, "the token lives an hour"
    repo = words[words.index("--repo") + 1]
    assert steps["Push"]["env"]["HF_OIDC_RESOURCE"] == f"datasets/{repo}"


def test_the_checklist_names_tests_that_are_there():
    text = (ROOT / "docs" / "PUBLISHING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*)$", text.split("## Checklist")[1], re.MULTILINE)
    assert [int(number) for number, _ in rows] == [*range(1, 21)]
    for number, row in rows:
        shown = re.findall(r"`pytest ([^`]+)`", row)
        assert shown, f"point {number}: no command shows it"
        for words in shown:
            [path] = re.findall(r"tests/\S+\.py", words)
            [keys] = re.findall(r'-k "?([^"`]+)"?$', words)
            held = re.findall(r"^def (test_\w+)", (ROOT / path).read_text(), re.MULTILINE)
            for key in keys.split(" or "):
                assert any(key in name for name in held), f"point {number}: {path} has no {key}"
