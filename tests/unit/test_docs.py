"""Code in the documents: every block is parsed by what it is for, so that no option in it is made up.

`integration/test_docs_run` runs them.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from documents import BLOCK, DOCUMENTS, LANGUAGES, ROOT, blocks, commands, home_of


def test_every_block_is_of_a_language_that_is_checked():
    for path in DOCUMENTS:
        told = {name for name, _ in BLOCK.findall(path.read_text(encoding="utf-8"))}
        assert told <= LANGUAGES, path


def entry(module: str) -> Any:
    """The command line behind `python -m MODULE`; None when it is none of ours."""
    home = home_of(module)
    return getattr(home, "cli", None) or getattr(home, "main", None)


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


def test_settings_in_documents_are_settings():
    from publish.data.parsing import from_mapping
    from publish.data.settings import Settings

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
