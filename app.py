"""The page of lungsynth: `python app.py`, then open the address it prints."""

from __future__ import annotations

import os

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR|HUB_ID",
    envvar="LUNGSYNTH_MODEL",
    help="Checkpoint.  [default: mini, shipped]",
)
@click.option("--host", default=None, metavar="ADDRESS", help="[default: this machine only]")
@click.option(
    "--port",
    type=click.IntRange(min=1, max=65535),
    default=None,
    help="[default: the first free one from 7860]",
)
def main(model: str | None, host: str | None, port: int | None) -> None:
    """Serve the page. Synthetic X-rays; research only; not for diagnosis."""
    if model:
        os.environ["LUNGSYNTH_MODEL"] = model
    from space.page.serving import give_memory_back
    from space.page.ui import build_demo, launch, warm_up

    give_memory_back()
    demo = build_demo()
    launch(demo, server_name=host, server_port=port, prevent_thread_lock=True)
    warm_up()  # not before: it would keep the page from answering
    demo.block_thread()


if __name__ == "__main__":
    main()
