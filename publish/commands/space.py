"""`python -m publish space`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from publish.commands.sending import hub_options, send


@click.command("space")
@click.option(
    "--hardware",
    type=click.Choice(["cpu-basic", "zero"]),
    default="cpu-basic",
    show_default=True,
    help="What the pins are for.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Write the Space here; kept. With --dry-run, nothing else is done.",
)
@hub_options
def space_command(
    hardware: str,
    out: Path | None,
    repo: str,
    tag: str | None,
    yes: bool,
    dry_run: bool,
    public: bool,
    message: str | None,
    verify: str,
    as_json: bool,
) -> None:
    """Publish the page as a Space: what it imports, its checkpoint, its pins; one commit.

    \b
    python -m publish space --repo lab/cxr --hardware zero --dry-run --out space-zero/
    python -m publish space --repo lab/cxr --hardware cpu-basic --yes

    A ZeroGPU Space takes certain versions of torch only; a CPU Space takes wheels without CUDA.
    """
    from publish.hub.payload import read_folder
    from publish.hub.push_plan import check_tag
    from publish.hub.repository import check_repo_name
    from publish.hub.space_files import HARDWARE, write_space

    check_repo_name(repo)
    check_tag(tag)
    with ExitStack() as stack:
        folder = out or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="publish-space-"))
        )
        write_space(folder, HARDWARE[hardware])
        send(
            read_folder(folder, "space"),
            repo=repo,
            tag=tag,
            yes=yes,
            dry_run=dry_run,
            public=public,
            message=message or f"The page, for {hardware}",
            verify=verify,
            as_json=as_json,
            sdk="gradio",
            hardware=HARDWARE[hardware].flavour,
        )
