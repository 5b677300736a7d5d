"""How the house stands: `python -m benchmarks.house` prints every figure of docs/ARCHITECTURE.md.

Counted from the source by the standard library; times are of this machine, the best of three.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("lungsynth", "publish", "space")
MAX_LINES, MAX_PARAMETERS = 60, 8


def files(*folders: str) -> list[Path]:
    """Python files below folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache  # several counts are of the same files
def functions(path: Path) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """(`package/module.py:name`, node) of every function of a file."""
    where = path.relative_to(ROOT).as_posix()
    return [
        (f"{where}:{node.name}", node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def long_functions() -> set[str]:
    """Functions of more than `MAX_LINES` lines, without decorators, signature and docstring.

    A signature is one parameter a line and a docstring says what each is: neither is long code.
    """
    found = set()
    for path in files(*PACKAGES):
        for name, node in functions(path):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            if (node.end_lineno or 0) - first.lineno + 1 > MAX_LINES:
                found.add(name)
    return found


def wide_functions() -> set[str]:
    """Functions of more than `MAX_PARAMETERS` parameters, `self` aside."""
    found = set()
    for path in files(*PACKAGES):
        for name, node in functions(path):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if len([one for one in given if one.arg not in ("self", "cls")]) > MAX_PARAMETERS:
                found.add(name)
    return found


def imports_in_functions() -> list[tuple[str, bool]]:
    """(`package/module.py:line`, has a comment that says why) of imports inside functions."""
    found = {}
    for path in files(*PACKAGES):
        lines = path.read_text(encoding="utf-8").splitlines()
        for _, function in functions(path):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    near = lines[max(node.lineno - 2, 0) : (node.end_lineno or node.lineno)]
                    where = f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"
                    found[where] = any("# " in line for line in near)
    return sorted(found.items())


def largest_folder() -> tuple[int, str]:
    """(modules, folder) of the fullest folder, `__init__.py` aside."""
    sizes: dict[Path, int] = {}
    for path in files(*PACKAGES):
        if path.name != "__init__.py":
            sizes[path.parent] = sizes.get(path.parent, 0) + 1
    folder = max(sizes, key=sizes.__getitem__)
    return sizes[folder], folder.relative_to(ROOT).as_posix()


def lines_of(*folders: str) -> int:
    """Lines of all Python files below folders."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files(*folders))


def occurrences(pattern: str, *folders: str) -> int:
    """Matches of a regular expression in all Python files below folders."""
    look = re.compile(pattern)
    return sum(len(look.findall(path.read_text(encoding="utf-8"))) for path in files(*folders))


def seconds(*arguments: str) -> float:
    """Wall time of this Python with arguments, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-2000:])
        best = min(best, time.perf_counter() - start)
    return best


PASSES = {
    "sample": (
        "from lungsynth.cli.main import cli\n"
        "call = lambda: cli(['sample', 'PA view, tuberculosis', '--steps', '2', '--quiet',"
        " '--out', out], standalone_mode=False)\n"
    ),
    "page": (
        "from lungsynth.permalink import Permalink\n"
        "from space.draw import actions\n"
        "call = lambda: list(actions.draw(Permalink('PA view, tuberculosis', 1, 2)))\n"
    ),
    "build": (
        "from publish.cli import cli\n"
        "call = lambda: cli(['build', '--n', '2', '--steps', '2', '--no-filter', '--quiet',"
        " '--out', tempfile.mkdtemp() + '/d'],"
        " standalone_mode=False)\n"
    ),
}
"""Name -> code that defines `call`, which draws one prompt (a build: two rows) into the folder `out`."""

TRACER = """
import sys, tempfile, threading
out = tempfile.mkdtemp()
{code}
names, changes, last = set(), 0, None
def look(frame, event, _):
    global changes, last
    if event != "call":
        return
    name = frame.f_globals.get("__name__", "")
    if name.split(".")[0] in ("lungsynth", "publish", "space") and frame.f_code.co_name != "<module>":
        names.add(name)
        changes += name != last
        last = name
call()  # once before, so that nothing is counted that runs when a module is imported
sys.setprofile(look); threading.setprofile(look)
try:
    call()
finally:
    sys.setprofile(None); threading.setprofile(None)
    print("PASSED", ",".join(sorted(names)), changes, file=sys.stderr)
"""


def passed(name: str) -> tuple[list[str], int]:
    """(modules of ours whose functions one prompt runs, changes of module on its way).

    Args:
        name: A key of PASSES.
    """
    code = TRACER.format(code=PASSES[name])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    found = re.search(r"PASSED (\S*) (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(done.stderr[-2000:])
    return found[1].split(","), int(found[2])


def main() -> None:
    """Print a table."""
    inside = imports_in_functions()
    rows: list[tuple[str, object]] = [
        ("product lines", lines_of(*PACKAGES)),
        ("test lines", lines_of("tests")),
        ("most modules in a folder", "{} ({})".format(*largest_folder())),
        (
            "imports inside functions; without a reason beside them",
            f"{len(inside)}; {sum(not why for _, why in inside)}",
        ),
        (f"functions over {MAX_LINES} lines", len(long_functions())),
        (f"functions over {MAX_PARAMETERS} parameters", len(wide_functions())),
        ("`pipe.unet`", occurrences(r"\bpipe(?:line)?\.unet\b", *PACKAGES)),
        ("`fmt: skip`", occurrences(r"#\s*fmt:\s*skip", *PACKAGES, "tests", "benchmarks")),
        ("`import torch`, s", f"{seconds('-c', 'import torch'):.2f}"),
        ("`import lungsynth.pipeline`, s", f"{seconds('-c', 'import lungsynth.pipeline'):.2f}"),
        ("`lungsynth sample --help`, s", f"{seconds('-m', 'lungsynth', 'sample', '--help'):.2f}"),
        (
            "`lungsynth train vae --help`, s",
            f"{seconds('-m', 'lungsynth', 'train', 'vae', '--help'):.2f}",
        ),
        ("`publish build --help`, s", f"{seconds('-m', 'publish', 'build', '--help'):.2f}"),
    ]
    for name, value in rows:
        print(f"{name:<58} {value}")
    for one in PASSES:
        names, changes = passed(one)
        title = f"modules passed by a prompt, changes: {one}"
        print(f"{title:<58} {len(names)}, {changes}")
        print(*(f"    {name}" for name in names), sep="\n", flush=True)


if __name__ == "__main__":
    main()
