"""`python -m publish push`."""

from __future__ import annotations

from pathlib import Path

import click

from publish.commands.sending import hub_options, send


@click.command("push")
@click.argument("dist", type=click.Path(path_type=Path, file_okay=False))
@hub_options
def push_command(
    dist: Path,
    repo: str,
    tag: str | None,
    yes: bool,
    dry_run: bool,
    public: bool,
    message: str | None,
    verify: str,
    as_json: bool,
) -> None:
    """Publish a built dataset: one commit, read back, then tagged.

    \b
    python -m publish push dist/ --repo lab/synthetic-cxr                       the plan
    python -m publish push dist/ --repo lab/synthetic-cxr --tag v1.0.0 --yes    do it

    Shards are uploaded one by one, then all files change in one commit, stale data files included;
    the commit is downloaded and loaded again, plain and streaming, and only then tagged. Whatever
    goes wrong, main holds the old files or the new ones; the same command goes on.

    The token is that of `hf auth login` or HF_TOKEN. HF_ENDPOINT names another server;
    HF_HUB_DISABLE_XET=1 uploads by LFS.
    """
    from publish.hub.dataset_files import read_dataset
    from publish.hub.push_plan import check_tag
    from publish.hub.repository import check_repo_name

    check_repo_name(repo)
    check_tag(tag)
    payload = read_dataset(dist)
    n_rows = sum(
        split.n_rows for split in payload.splits if split.config == payload.splits[0].config
    )
    send(
        payload,
        repo=repo,
        tag=tag,
        yes=yes,
        dry_run=dry_run,
        public=public,
        message=message or f"{f'Release {tag}' if tag else 'Publish'}: {n_rows:,} synthetic rows",
        verify=verify,
        as_json=as_json,
    )
