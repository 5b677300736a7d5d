"""A checkpoint's own README.md as the card of its repository: what it lacks is added, links are mended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lungsynth.about.figures import KINDS, TITLES, Figure, read_figures
from lungsynth.about.sources import Source, read_sources
from lungsynth.errors import ConfigError
from publish.card.checkpoint import measured_section, sources_table
from publish.card.model_snippets import ModelFacts, use_section
from publish.hub.payload import front_matter
from publish.hub.weights import Checkpoint

LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\(([^)\s]+)\)")
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|#", re.IGNORECASE)
"""How a target begins that is no file: an address, an anchor of the page."""

CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def fill_own_card(
    checkpoint: Checkpoint, facts: ModelFacts, samples: Sequence[tuple[str, str]] = ()
) -> str:
    """The checkpoint's own card, for the repository it goes to.

    Between its lines `<!-- made:NAME -->` and `<!-- /made:NAME -->` stand code that loads the
    repository (use), what was measured (measured) and the sources with what is owed to their owners
    (sources). The latter two, and the keys `datasets`, `widget` and `model-index`, are added where
    it has none. `samples` are prompt and path in the repository of each picture of the gallery.
    """
    assert checkpoint.own_card is not None
    text = checkpoint.own_card.read_text(encoding="utf-8")
    figures, sources = read_figures(checkpoint.folder), read_sources(checkpoint.folder)
    _, head, body = text.split("---\n", 2)
    told = front_matter(checkpoint.own_card)
    more = {k: v for k, v in hub_values(facts, figures, sources, samples).items() if k not in told}
    body = mend_links(body, checkpoint.folder, facts.home)
    body = _fill(body, "use", use_section(checkpoint, facts), title=None)
    if figures:
        made = measured_section(figures, checkpoint.hash)
        body = _fill(body, "measured", made, title="What was measured")
    if sources:
        body = _fill(body, "sources", sources_table(sources).strip(), title="Sources")
    if samples and "<Gallery" not in body:
        body = f"{body.rstrip()}\n\n## Pictures\n\n<Gallery />\n"
    return f"---\n{head}{_yaml(more)}---\n{body}"


def _yaml(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    return str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100))


def _fill(body: str, name: str, made: str, *, title: str | None) -> str:
    """Put what was made between its markers; without them at the end, below a title, or nowhere."""
    marked = re.compile(rf"(<!-- made:{name} -->\n).*?(<!-- /made:{name} -->)", re.DOTALL)
    if marked.search(body):
        return marked.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", body)
    return body if title is None else f"{body.rstrip()}\n\n## {title}\n\n{made}\n"


def hub_values(
    facts: ModelFacts,
    figures: Sequence[Figure],
    sources: Sequence[Source],
    samples: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """What the Hub reads: data sets, those named as options first, gallery, results."""
    values: dict[str, Any] = {}
    on_hub = [name for name, _ in facts.data if re.fullmatch(r"[\w.-]+/[\w.-]+", name)]
    names = list(dict.fromkeys([*on_hub, *(re.sub(r"[^\w./-]+", "-", s.name) for s in sources)]))
    if names:
        values["datasets"] = names
    if samples:
        values["widget"] = [{"text": prompt, "output": {"url": path}} for prompt, path in samples]
    results = [_result(facts, kind, figures) for kind in KINDS]
    kept = [one for one in results if one["metrics"]]
    if kept:
        values["model-index"] = [{"name": facts.repo.split("/")[1], "results": kept}]
    return values


def _result(facts: ModelFacts, kind: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """A result of model-index."""
    return {
        "task": {
            "type": "image-segmentation" if kind == "masks" else "text-to-image",
            "name": TITLES[kind],
        },
        "dataset": {"name": "real test films, see the card", "type": "chest-x-ray"},
        "metrics": [
            {"type": kind, "name": one.name, "value": float(f"{one.value:.6g}"), "verified": False}
            for one in figures
            if one.kind == kind
        ],
    }


def mend_links(text: str, folder: Path, home: str) -> str:
    """Links to files of the repository stay; those that lead out of it become addresses, or words.

    They are seen from the checkpoint's folder. `home` is the address of the repository it lies in,
    such as https://host/lab/code/blob/main; "" when there is none.

    Raises:
        ConfigError: the address is none.
    """
    if home and not re.match(r"https?://", home):
        raise ConfigError(f"--home {home}: expected an address, such as https://host/lab/code.")
    root = next(
        (
            p
            for p in (folder.resolve(), *folder.resolve().parents)
            if (p / "pyproject.toml").is_file()
        ),
        None,
    )

    def mend(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        path = (folder / target.partition("#")[0]).resolve()
        if OUTSIDE.match(target) or path.is_relative_to(folder.resolve()):
            return found[0]
        if home and root is not None and path.is_relative_to(root):
            anchor = "#" + target.partition("#")[2] if "#" in target else ""
            return f"[{label}]({home.rstrip('/')}/{path.relative_to(root).as_posix()}{anchor})"
        return label

    parts = CODE.split(text)
    return "".join(part if k % 2 else LINK.sub(mend, part) for k, part in enumerate(parts))
