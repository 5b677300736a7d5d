"""The card of a model: front matter, licence chain, evaluation, gallery, a snippet that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lungsynth import RESEARCH_NOTICE, __version__
from lungsynth.about.figures import read_figures
from lungsynth.about.sources import read_sources
from lungsynth.errors import ConfigError
from lungsynth.evaluation.downstream.report import arm_title
from lungsynth.files import file_sha256
from lungsynth.model.checkpoint import NEAREST_FOLDER
from publish.card.checkpoint import measured_section, sources_table
from publish.card.markup import markdown_text, table
from publish.card.model_snippets import ModelFacts, use_section
from publish.card.own_card import hub_values
from publish.data.licences import MEDICAL_RESTRICTION, OPENRAIL
from publish.data.manifest import read_json
from publish.hub.weights import Checkpoint

MAX_FIGURES = 60
"""Rows of an evaluation that go into the card; the file itself holds all."""

MEDICAL_USE = (
    "- To provide medical advice and medical results interpretation, or to be used for that "
    "(CreativeML OpenRAIL-M, Attachment A; it binds everything derived from the base)."
)


def licence_chain(facts: ModelFacts, *, is_lora: bool) -> str:
    """The licence of the weights.

    Raises:
        ConfigError: it is not stated, or contradicts that of the base.
    """
    inherited = facts.base_licence if facts.base_licence in OPENRAIL else None
    if is_lora and facts.base is None:
        raise ConfigError("LoRA weights are nothing without their base. Give --base ORG/NAME.")
    if facts.base is not None and facts.base_licence is None:
        raise ConfigError(f"--base {facts.base}: under which licence? Give --base-licence.")
    if inherited and facts.licence not in (None, inherited):
        raise ConfigError(
            f"--licence {facts.licence}: the base is under {inherited}, whose restrictions go with "
            f"everything made from it. Leave --licence away, or give {inherited}."
        )
    licence = inherited or facts.licence
    if licence is None:
        raise ConfigError(
            "The licence of the weights is not stated. Give --licence, such as apache-2.0."
        )
    return licence


def figures(report: Any, prefix: str = "") -> list[tuple[str, float, str]]:
    """Numbers of an evaluation: (name, value, as text); intervals are kept together."""
    found: list[tuple[str, float, str]] = []
    if isinstance(report, Mapping) and isinstance(report.get("arms"), list):
        report = {**report, **_named_arms(report)}
    if isinstance(report, Mapping):
        if {"value", "low", "high"} <= report.keys() and _is_number(report["value"]):
            shown = f"{report['value']:.4g} [{report['low']:.4g}, {report['high']:.4g}]"
            return [(prefix, float(report["value"]), shown)]
        for key, value in report.items():
            found += figures(value, f"{prefix}.{key}" if prefix else str(key))
    elif _is_number(report):
        shown = f"{report:.4g}" if isinstance(report, float) else f"{report:,}"
        found.append((prefix, float(report), shown))
    return found


def _named_arms(report: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of `evaluate downstream` by name, Dice and IoU only."""

    def title(told: Mapping[str, Any]) -> str:
        return f"{told['model']}, {arm_title(told)}, n = {told['n_real']}"

    return {
        "arms": {
            f"{title(a)}, on {a['test']}": {m: a[m] for m in ("dice", "iou")}
            for a in report["arms"]
        },
        "comparisons": {
            f"{title(c['of'])} against {title(c['with'])}, on {c['test']}": {
                f"dice {c['kind']}": c["dice"]
            }
            for c in report["comparisons"]
        },
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def read_report(path: Path) -> dict[str, Any]:
    """An evaluation.

    Raises:
        DataError: it is no JSON object.
        ConfigError: it holds no number.
    """
    report = read_json(path)
    if not figures(report):
        raise ConfigError(
            f"--evaluation {path}: holds no number. Give what `lungsynth evaluate` wrote."
        )
    return report


def make_model_card(
    checkpoint: Checkpoint, facts: ModelFacts, samples: Sequence[tuple[str, str]]
) -> str:
    """The card; the same arguments give the same text.

    `samples` are prompt and path in the repository of each picture of the gallery.

    Raises:
        ConfigError: the licence is not stated or contradicts the base's.
    """
    licence = licence_chain(facts, is_lora=checkpoint.is_lora)
    reports = {name: read_report(path) for name, path in facts.evaluation.items()}
    kept, sources = read_figures(checkpoint.folder), read_sources(checkpoint.folder)
    values = _front_matter(checkpoint, facts, licence, reports, samples)
    head = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    parts = [
        f"# {facts.repo.split('/')[1]}\n\n> **{RESEARCH_NOTICE}**",
        _what(checkpoint, facts),
        "<Gallery />" if samples else "",
        f"## Use\n\n{use_section(checkpoint, facts)}",
        _training(facts),
        f"## Sources\n\n{sources_table(sources).strip()}" if sources else "",
        f"## What was measured\n\n{measured_section(kept, checkpoint.hash)}",
        _evaluation(reports, facts) if reports else "",
        _licence(facts, licence),
        "## Out of scope\n\nAny diagnosis, treatment or interpretation of a person's film; pictures "
        "passed off as real; identifying anybody.",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(
    checkpoint: Checkpoint,
    facts: ModelFacts,
    licence: str,
    reports: Mapping[str, Any],
    samples: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    tags = ["text-to-image", "stable-diffusion", "diffusers", "synthetic", "medical", "chest-x-ray"]
    values: dict[str, Any] = {
        "license": licence,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "language": ["en"],
        "tags": tags + (["lora"] if checkpoint.is_lora else []),
    }
    if facts.base:
        values["base_model"] = facts.base
        values["base_model_relation"] = "adapter" if checkpoint.is_lora else "finetune"
    figures_kept, sources = read_figures(checkpoint.folder), read_sources(checkpoint.folder)
    values |= hub_values(facts, figures_kept, sources, samples)
    if reports:
        index = values.setdefault(
            "model-index", [{"name": facts.repo.split("/")[1], "results": []}]
        )
        index[0]["results"] += [
            {
                "task": {"type": "text-to-image"},
                "dataset": {"name": name, "type": "evaluation"},
                "metrics": [
                    {"type": key, "value": value} for key, value, _ in figures(report)[:MAX_FIGURES]
                ],
            }
            for name, report in reports.items()
        ]
    return values


def _what(checkpoint: Checkpoint, facts: ModelFacts) -> str:
    """Paragraph and table on the weights themselves."""
    if checkpoint.is_lora:
        first = f"LoRA weights for `{facts.base}`: synthetic frontal chest X-rays from text."
    elif facts.base:
        first = f"A text-to-image model of frontal chest X-rays, fine-tuned from `{facts.base}`."
    else:
        first = "A text-to-image model of frontal chest X-rays, trained from random weights."
    rows = [(f"`{part or '.'}`", f"{n:,}") for part, n in sorted(checkpoint.parts.items())]
    text = (
        f"{first} Weights {', '.join(checkpoint.dtypes)}, safetensors, hash `{checkpoint.hash}`.\n\n"
    ) + "\n".join(table(("part", "parameters"), rows))
    if checkpoint.classes:
        named = ", ".join(f"{value} = {name}" for name, value in checkpoint.classes.items())
        text += (
            "\n\nIts class tokens (`classes.json`, `tokens/`) read masks from its cross-attention with "
            f"lungsynth {__version__}: {named}."
        )
    if checkpoint.has_nearest:
        text += (
            f"\n\n`{NEAREST_FOLDER}/` holds features of its training films, no pictures, so that how near "
            "a picture lies to them can be told."
        )
    return text


def _training(facts: ModelFacts) -> str:
    if not (facts.data or facts.steps or facts.training):
        return "## Training\n\nNot stated."
    text = "## Training\n"
    if facts.data:
        rows = [(markdown_text(name), markdown_text(licence)) for name, licence in facts.data]
        text += "\n".join(["", *table(("data", "licence"), rows), ""])
    if facts.steps:
        text += f"\n{facts.steps:,} steps.\n"
    if facts.training:
        text += f"\n```\n{facts.training.replace('```', '')}\n```\n"
    return text.rstrip()


def _evaluation(reports: Mapping[str, Any], facts: ModelFacts) -> str:
    text = "## Evaluation\n"
    for name, path in facts.evaluation.items():
        report = reports[name]
        found = figures(report)
        digest = file_sha256(path)[:16]
        command = report.get("command")
        text += f"\n`evaluation/{name}` (SHA-256 {digest}…)"
        text += f", by {markdown_text(command)}" if isinstance(command, str) else ""
        rows = [(markdown_text(key), shown) for key, _, shown in found[:MAX_FIGURES]]
        text += "\n".join(["", "", *table(("figure", "value"), rows)])
        if len(found) > MAX_FIGURES:
            text += f"\n\n{len(found) - MAX_FIGURES} more are in the file."
        text += "\n"
    return text.rstrip()


def _licence(facts: ModelFacts, licence: str) -> str:
    text = f"## Licence\n\nThe weights: `{licence}`."
    if facts.base:
        text += f" The base `{facts.base}`: `{facts.base_licence}`."
    if licence in OPENRAIL:
        text += f" {MEDICAL_RESTRICTION}\n\nYou agree not to use the model or its pictures:\n\n"
        text += MEDICAL_USE
    if facts.data:
        text += "\n\nThe terms of the training data are in the table above and hold besides."
    return text
