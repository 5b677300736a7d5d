"""The dataset's `README.md`, made of its manifest, its rows and its evaluation results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml  # type: ignore[import-untyped]
from datasets import DatasetInfo, Features, SplitDict, SplitInfo

from lungsynth import RESEARCH_NOTICE
from lungsynth.errors import ConfigError
from publish.card.checkpoint import (
    by_eye,
    figures_for,
    measured_section,
    replay_section,
    sources_table,
    unmeasured_note,
)
from publish.card.evaluation import further_sections
from publish.card.markup import bibtex_text, contact_link, markdown_text, plain_text
from publish.card.sections import (
    asked_table,
    class_table,
    columns_table,
    evaluation_section,
    filter_section,
    masks_note,
    memorisation_section,
    redraw_section,
    withdrawn_section,
)
from publish.card.text import HUMAN, TEXT
from publish.data.changelog import CHANGELOG_NAME
from publish.data.licences import Licence, all_sources, licence_of
from publish.data.manifest import Manifest, canonical_sha256
from publish.data.parsing import from_mapping
from publish.data.rows import Summary
from publish.data.schema import column_name
from publish.data.settings import CardSettings

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Rows below a bound -> the Hub's size category."""

STATED = ("seed", "steps", "guidance", "scheduler", "model", "model_hash", "code_version")
"""Keys of the configuration that the card's text names."""

PLACE = "PATH_OR_NAME"
"""Where the snippets load from when the card does not know its name on the Hub."""


def make_card(
    manifest: Manifest, out: Path, summary: Summary, reports: Mapping[str, dict[str, Any]]
) -> str:
    """The card of a finished dataset; the same files give the same text.

    Columns, changelog and what people wrote into an older card are read in the folder; `reports`
    are evaluation results by their files.

    Raises:
        ConfigError: the older card's markers are broken, so what people wrote would be lost.
    """
    config = manifest.config
    card = from_mapping(CardSettings, manifest.card, "card")
    sources = all_sources(manifest.sources, card)
    licence = licence_of(sources, card.licence)
    names = list(manifest.named_classes.values())
    human, figures = read_human(out), figures_for(manifest, reports)
    changes = (out / CHANGELOG_NAME).read_text(encoding="utf-8")
    text = TEXT.format(
        title=markdown_text(card.title),
        notice=RESEARCH_NOTICE,
        n_rows=manifest.n_rows,
        sides=summary.size,
        classes=markdown_text(_sentence(names)),
        split_rows="\n".join(f"| `{s}` | {n:,} |" for s, n in manifest.splits.items()),
        first_split=next(iter(manifest.splits)),
        place=card.repo or PLACE,
        revision=f', revision="v{manifest.version}"' if card.repo else "",
        place_note=""
        if card.repo
        else f"`{PLACE}` is this folder, or the name the dataset has on the Hub.\n",
        probability_snippet=_probability_snippet(manifest, names),
        class_rows=class_table(manifest, summary),
        masks_note=masks_note(manifest),
        columns=columns_table(manifest),
        asked=asked_table(summary, figures),
        unmeasured=unmeasured_note(card),
        measured=measured_section(figures, str(config["model_hash"])),
        by_eye=by_eye(card.by_eye),
        replay=replay_section(manifest),
        filter=filter_section(manifest, summary) + redraw_section(manifest),
        config_sha=canonical_sha256(config)[:16],
        evaluation=evaluation_section(reports),
        further=further_sections(reports),
        memorisation=memorisation_section(reports),
        withdrawn=withdrawn_section(manifest),
        licence=_licence(licence, card),
        sources=sources_table(sources),
        contact=f"Report a picture, or ask for one to be taken down: {contact_link(card.contact)}"
        if card.contact
        else "No contact is stated.",
        bibtex=_bibtex(card, manifest),
        changelog="\n".join(changes.splitlines()[1:]).replace("\n## ", "\n### ").strip(),
        prompts="the prompts of a file"
        if "sha256" in config["prompts"]
        else f"prompts of a grammar (version {config['prompts']['grammar']})",
        **{key: config[key] for key in STATED},
        **{name: _human(name, human) for name in HUMAN},
    )
    return f"---\n{front_matter(manifest, out, card, licence)}---\n{text}"


def read_human(out: Path) -> dict[str, str]:
    """What people wrote into the card of a folder; {} without one.

    Raises:
        ConfigError: see `human_sections`.
    """
    path = out / "README.md"
    return human_sections(path.read_text(encoding="utf-8")) if path.is_file() else {}


def human_sections(text: str) -> dict[str, str]:
    """What people wrote between the markers of a card: name -> text.

    Raises:
        ConfigError: a marker is doubled, nested or not closed.
    """
    found = {}
    marks = re.findall(r"<!-- (/?)human:([a-z_]+) -->", text)
    for name in dict.fromkeys(name for _, name in marks):
        here = re.findall(rf"<!-- human:{name} -->\n(.*?)<!-- /human:{name} -->", text, re.DOTALL)
        if len(here) != 1 or "<!-- human:" in here[0] or marks.count(("", name)) != 1:
            raise ConfigError(
                f"README.md: the markers of human:{name} are broken; expected one opening and one "
                "closing marker, each on its own line. Mend them, so that nothing you wrote is lost."
            )
        found[name] = here[0]
    return found


def _human(name: str, written: Mapping[str, str]) -> str:
    return f"<!-- human:{name} -->\n{written.get(name, '')}<!-- /human:{name} -->"


def front_matter(manifest: Manifest, out: Path, card: CardSettings, licence: Licence) -> str:
    """The YAML the Hub reads; the features are those in the Parquet files."""
    shards = manifest.shards
    info = _info(
        "default",
        pq.read_schema(out / shards[0].name),
        {
            split: (
                sum(s.memory_bytes for s in shards if s.split == split),
                sum(s.n_rows for s in shards if s.split == split),
            )
            for split in manifest.splits
        },
        sum(s.n_bytes for s in shards),
    )
    path = out / "preview" / "train-00000-of-00001.parquet"
    with pq.ParquetFile(path) as file:
        table = file.read()
    size = path.stat().st_size
    preview = _info("preview", table.schema, {"train": (table.nbytes, table.num_rows)}, size)
    values: dict[str, Any] = {
        "pretty_name": plain_text(card.title),
        "language": ["en"],
        "license": licence.identifier,
        **(
            {"license_name": "see-licence-section", "license_link": "README.md"}
            if licence.identifier == "other"
            else {}
        ),
        "task_categories": ["image-segmentation", "text-to-image"],
        "tags": ["synthetic", "medical", "chest-x-ray", "image", "lungsynth"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((s for bound, s in SIZES if manifest.n_rows < bound), "n>1M")],
        "configs": [
            {
                "config_name": "default",
                "default": True,
                "data_files": [
                    {"split": split, "path": f"data/{split}-*"} for split in manifest.splits
                ],
            },
            {
                "config_name": "preview",
                "data_files": [{"split": "train", "path": "preview/train-*"}],
            },
        ],
        "dataset_info": [info, preview],
    }
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100))


def _info(
    config: str, schema: Any, splits: dict[str, tuple[int, int]], n_bytes: int
) -> dict[str, Any]:
    """An entry of `dataset_info`: split -> (bytes of its rows in memory, rows); bytes of all files."""
    held = SplitDict()
    for name, (size, n) in splits.items():
        held.add(SplitInfo(name, num_bytes=size, num_examples=n))
    info = DatasetInfo(
        features=Features.from_arrow_schema(schema),
        splits=held,
        download_size=n_bytes,
        dataset_size=sum(size for size, _ in splits.values()),
    )
    return {"config_name": config, **info._to_yaml_dict()}


def _sentence(names: list[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _probability_snippet(manifest: Manifest, names: list[str]) -> str:
    if not manifest.config["keep_probability"]:
        return ""
    column = column_name("probability", names[0])
    return f'soft = np.asarray(row["{column}"]) / 255  # attention alone\n'


def _licence(licence: Licence, card: CardSettings) -> str:
    told = (
        "to be decided by a person" if licence.identifier == "other" else f"`{licence.identifier}`"
    )
    return f"Data: {told}. {markdown_text(licence.reason, limit=600)}"


def _bibtex(card: CardSettings, manifest: Manifest) -> str:
    lines = [f"  title = {{{bibtex_text(card.title)}}},"]
    if card.authors:
        lines.append(f"  author = {{{' and '.join(map(bibtex_text, card.authors))}}},")
    lines.append(f"  year = {{{manifest.date[:4] or 'n.d.'}}},")
    if card.repo:
        lines.append(f"  url = {{https://huggingface.co/datasets/{bibtex_text(card.repo)}}},")
    return "\n".join(
        ["@misc{lungsynth_dataset,", *lines, f"  version = {{{manifest.version}}}", "}"]
    )
