"""What a visitor takes away of a study: its files as a ZIP, and the link that makes them again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from lungsynth.files import pack
from lungsynth.images import picture_files, slug
from lungsynth.masks.quality import overall_trust
from lungsynth.permalink import Permalink, refine_texts
from space.draw.study import Study, files_of

DRAWN = (
    "prompt",
    "seed",
    "steps",
    "guidance",
    "guidance_interval",
    "size",
    "scheduler",
    "precision",
)
"""What of a link decides the pixels."""


def record_of(study: Study) -> dict[str, Any]:
    """The record of a study with the mask as it is now."""
    assert study.made is not None
    return study.record | {
        "refine": asdict(study.made.config),
        "scores": study.made.scores,
        "stages": study.made.used,
        "trust": overall_trust(study.made.scores),
        "ratios": study.made.ratios,
    }


def permalink_of(study: Study, opened: Permalink | None = None) -> Permalink:
    """The link of a study with the mask as it is now.

    The dataset row of the link the page was opened with is kept while the picture is its.
    """
    assert study.made is not None
    options = study.record["options"]
    told = {
        "scheduler": "" if options.get("scheduler") == "default" else options.get("scheduler", ""),
        "precision": options.get("precision") or "fp32",
    }
    link = Permalink(
        study.prompt,
        study.seed,
        study.steps,
        study.guidance,
        study.size,
        **told,
        classes=study.specs[0].convention if study.specs else "",
        refine=refine_texts(study.made.config),
        weights=str(study.record.get("model_hash", "")),
        guidance_interval=options.get("guidance_interval"),
    )
    if opened is None or not opened.row:
        return link
    same = all(getattr(link, name) == getattr(opened, name) for name in DRAWN)
    return replace(link, row=opened.row) if same else link


def archive(study: Study) -> bytes:
    """A ZIP of every file of a study; the same study and tuning give the same bytes."""
    assert study.made is not None
    record = json.dumps(record_of(study), indent=2, ensure_ascii=False) + "\n"
    files = {
        **picture_files(study.image, study.made.coarse, study.made.mask),
        **files_of(study),
        "record.json": record.encode(),
    }
    return pack(files)


def archive_name(study: Study) -> str:
    """A file name that says prompt and seed."""
    return f"lungsynth-{slug(study.prompt)}-seed{study.seed}.zip"
