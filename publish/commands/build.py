"""`python -m publish build`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import precision_option, with_options


def _splits(given: tuple[str, ...]) -> dict[str, float] | None:
    """("train=0.9", "test=0.1") -> shares."""
    if not given:
        return None
    shares = {}
    for one in given:
        name, _, share = one.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise click.BadParameter(
                f"{one!r}; expected NAME=SHARE, such as train=0.9.", param_hint="--split"
            ) from None
    return shares


def build_options(command: Any) -> Any:
    """Options of everything that builds; not given means: as the YAML file or the default says."""
    return with_options(
        (
            click.option(
                "--config",
                "config_file",
                default=None,
                metavar="FILE",
                type=click.Path(path_type=Path, dir_okay=False),
                help="YAML with any setting below and more; options win over it.",
            ),
            click.option(
                "--out",
                type=click.Path(path_type=Path, file_okay=False),
                default=Path("dist"),
                show_default=True,
                metavar="DIR",
                help="The dataset repository is made in here.",
            ),
            click.option(
                "--n",
                "n",
                type=click.IntRange(min=1),
                metavar="N",
                help="Rows to draw; those that fail the filter are not published.",
            ),
            click.option(
                "--seed",
                type=click.IntRange(min=0, max=2**53 - 1),
                help="Decides every prompt and every picture.  [default: 0]",
            ),
            click.option(
                "--shard-rows",
                type=click.IntRange(min=1),
                metavar="N",
                help="Rows drawn for a Parquet file.  [default: 256]",
            ),
            click.option(
                "--model",
                metavar="NAME|DIR",
                help="Checkpoint with a classes.json.  [default: mini, shipped]",
            ),
            click.option(
                "--steps",
                type=click.IntRange(min=1, max=1000),
                help="Denoising steps.  [default: 20]",
            ),
            click.option(
                "--guidance",
                type=click.FloatRange(min=1.0, max=50.0),
                help="How strictly the prompt is followed; 1 = off.  [default: 1.5]",
            ),
            click.option(
                "--scheduler",
                metavar="NAME",
                help="Sampler; default keeps the checkpoint's.  [default: default]",
            ),
            precision_option(default=None),
            click.option(
                "--prompts",
                metavar="FILE",
                help="Text with one prompt a line, or CSV, JSONL or Parquet with a column; "
                "taken in turn.  [default: prompts made from the seed]",
            ),
            click.option(
                "--prompt-column", metavar="NAME", help="Column of such a file.  [default: prompt]"
            ),
            click.option(
                "--split",
                "splits",
                multiple=True,
                metavar="NAME=SHARE",
                help="Repeat for several; rows of one prompt stay together.  [default: train=1]",
            ),
            click.option(
                "--convention",
                metavar="NAME",
                help="By whose rule masks are drawn, where the checkpoint has several, such as "
                "v7.  [default: its first]",
            ),
            click.option(
                "--classes",
                metavar="NAMES",
                help="Classes kept in the masks, with commas between.  [default: all]",
            ),
            click.option(
                "--keep-attention/--no-keep-attention",
                default=None,
                help="A column with the attention map of each word.  [default: no]",
            ),
            click.option(
                "--keep-probability/--no-keep-probability",
                default=None,
                help="Columns with each class's probability.  [default: yes]",
            ),
            click.option(
                "--ignore-band",
                type=click.FloatRange(min=0, max=0.5),
                metavar="P",
                help="255 in the mask where the best class is under 0.5 + P.  [default: 0]",
            ),
            click.option(
                "--filter/--no-filter",
                "apply_filter",
                default=None,
                help="Keep rows that fail the quality limits out.  [default: filter]",
            ),
            click.option(
                "--evaluation",
                multiple=True,
                metavar="FILE",
                help="JSON of `lungsynth evaluate` masks, downstream, fidelity or obedience, for "
                "the card; repeatable.",
            ),
            click.option(
                "--memorisation",
                metavar="FILE",
                help="JSON of `lungsynth evaluate memorisation` or `neighbours`, for card and check.",
            ),
            click.option(
                "--unmeasured",
                multiple=True,
                type=click.Choice(["memorisation", "obedience", "masks"]),
                help="Release although this was not measured; the card then says so. Repeatable.",
            ),
            click.option(
                "--batch-size",
                type=click.IntRange(min=1),
                help="Pictures drawn together.  [default: 1]",
            ),
            click.option("--device", help="auto, cpu, cuda …  [default: auto]"),
            click.option("--quiet", is_flag=True, help="No progress bar."),
        )
    )(command)


def settings_of(config_file: Path | None, options: dict[str, Any]) -> Any:
    """The settings that options and a YAML file give."""
    from publish.data.settings import read_settings

    given = dict(options)
    given["splits"] = _splits(given.pop("splits"))
    if given["classes"] is not None:
        given["classes"] = tuple(name.strip() for name in given["classes"].split(","))
    for name in ("evaluation", "unmeasured"):
        given[name] = given[name] or None
    return read_settings(config_file, given)


def worker_options(command: Any) -> Any:
    """Options of who draws; the files do not depend on them."""
    return with_options(
        (
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                metavar="N",
                help="Processes that draw, each with one thread.  [default: one a core or GPU; "
                "fewer for little work or memory]",
            ),
            click.option(
                "--engine",
                "engine_name",
                type=click.Choice(["local", "slurm", "ray"]),
                help="Draw through datatrove, of the extra `scale`: on this machine, by jobs of "
                "Slurm, or on a Ray cluster.  [default: processes of this program]",
            ),
            click.option(
                "--engine-option",
                "engine_options",
                multiple=True,
                metavar="KEY=VALUE",
                help="Repeat for several; slurm needs partition and time.  See docs/SCALING.md.",
            ),
            click.option(
                "--logs",
                type=click.Path(path_type=Path, file_okay=False),
                metavar="DIR",
                help="Logs and markers of an engine.  [default: the name of --out with .build]",
            ),
        )
    )(command)


def engine_of(
    name: str | None, options: tuple[str, ...], workers: int | None, logs: Path | None
) -> Any:
    """The engine that `worker_options` name; None for processes of this program.

    Raises:
        click.UsageError: options of an engine, and none named.
        ConfigError: its options are wrong, or it is not installed.
    """
    from publish.build.engines import read_engine

    if name is not None:
        return read_engine(name, options, workers=workers, logs=logs)
    if options or logs:
        given = "--engine-option" if options else "--logs"
        raise click.UsageError(f"{given} is for an engine; name it with --engine.")
    return None


@click.command("build")
@build_options
@worker_options
@click.option("--dry-run", is_flag=True, help="Print what would be built and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished manifest.")
def build_command(
    config_file: Path | None,
    out: Path,
    quiet: bool,
    workers: int | None,
    engine_name: str | None,
    engine_options: tuple[str, ...],
    logs: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw a dataset: Parquet shards, manifest, card, Croissant.

    \b
    python -m publish build --config release.yaml --out dist/
    python -m publish build --n 1000 --seed 0 --split train=0.9 --split test=0.1
    python -m publish build --config release.yaml --engine ray --engine-option address=auto

    The same command again resumes: finished shards are checked by their hash and kept. The files do
    not depend on --workers and --engine, nor on what was killed on the way.

    Exit codes: 0 built; 1 could not be built; 2 wrong usage.
    """
    from publish.build.plan import plan
    from publish.build.run import build

    engine = engine_of(engine_name, engine_options, workers, logs)
    the_plan = plan(settings_of(config_file, options))
    if dry_run:
        click.echo(json.dumps(the_plan.preview(), indent=2, ensure_ascii=False))
        return
    manifest = build(the_plan, out, workers=workers, engine=engine, quiet=quiet)
    click.echo(
        f"{out}: {manifest.n_rows} of {manifest.n_drawn} rows drawn, in {len(manifest.shards)} "
        f"shards, version {manifest.version}",
        err=True,
    )
    if as_json:
        click.echo(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(out / "manifest.json"))
