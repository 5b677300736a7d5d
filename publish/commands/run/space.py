"""`python -m publish space`: what it does."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from publish.commands.run.sending import begin, send
from publish.commands.sending import SpaceCommand
from publish.hub.payload import read_folder
from publish.hub.space_files import HARDWARE, write_space


def run_space(command: SpaceCommand) -> None:
    """Publish the page as a Space."""
    deadline = begin(command)
    with ExitStack() as stack:
        folder = command.out or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="publish-space-"))
        )
        hardware = HARDWARE[command.hardware]
        write_space(folder, hardware)
        send(
            read_folder(folder, "space"),
            command,
            deadline,
            message=f"The page, for {command.hardware}",
            hardware=hardware.flavour,
        )
