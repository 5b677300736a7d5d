"""Checks of the files around the rows: hashes, card, Croissant, private text, loading."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import yaml  # type: ignore[import-untyped]
from datasets import Features, load_dataset
from markdown_it import MarkdownIt

from lungsynth.files import file_sha256
from publish.build.finish import CARD_NAME, FIGURES, PREVIEW_NAME
from publish.card import croissant
from publish.check.rows import expected_features
from publish.data.manifest import MANIFEST_NAME, Manifest, inside
from publish.data.rows import iter_rows, quiet_datasets, rejected_rows
from publish.hub.payload import TOKEN

REQUIRED = (
    CARD_NAME,
    "CHANGELOG.md",
    "id2label.json",
    croissant.CROISSANT_NAME,
    "rejected.jsonl",
    PREVIEW_NAME,
    *FIGURES,
)

PRIVATE = {
    "a Hub token": TOKEN,
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    "an AWS key": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a place on this machine": re.compile(
        r"(?<![\w.:/])/(?:home|root|Users|tmp|mnt|media|var|work|data|scratch|opt)/[\w.~-]+"
        r"|\b[A-Z]:\\\\?[\w.~-]+"
    ),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"),
}
"""What no published file may hold."""

PERSONAL = {
    "a date": re.compile(r"\b(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./](?:\d{4}|\d{2}))\b"),
    "a number like a record's": re.compile(r"\b\d{6,}\b"),
    "a person's title": re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau)\.? [A-ZÀ-Ý]"),
    "a telephone number": re.compile(r"\+?\d[\d ()-]{8,}\d"),
}
"""What no prompt may hold besides: signs of a real patient."""

TEXT_SUFFIXES = (".md", ".json", ".jsonl")


def file_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """Files against the manifest."""
    if not manifest.is_complete:
        yield (
            f"{MANIFEST_NAME}: the build is not finished ({len(manifest.shards)} of "
            f"{manifest.n_shards} shards). Run the same `publish build` again"
        )
        return
    listed = manifest.listed
    for name in REQUIRED:
        if name not in listed:
            yield f"{name}: not in the manifest"
    if len(listed) != len(manifest.shards) + len(manifest.files):
        yield f"{MANIFEST_NAME}: a file is listed twice"
    for name, sha256 in listed.items():
        path = inside(dist, name)
        if not path.is_file() or path.is_symlink():
            yield f"{name}: missing, or not a plain file"
        elif file_sha256(path) != sha256:
            yield f"{name}: changed since it was built (its SHA-256 is not the manifest's)"
    for path in sorted(dist.rglob("*")):
        name = path.relative_to(dist).as_posix()
        if path.is_file() and name != MANIFEST_NAME and name not in listed:
            yield f"{name}: not in the manifest, but would be published"
    told = json.loads((dist / MANIFEST_NAME).read_text(encoding="utf-8"))
    for key, value in manifest.to_json().items():
        if told.get(key) != value:
            yield f"{MANIFEST_NAME}: `{key}` does not fit the rest; the file was edited"


def card_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """Front matter, and Markdown that renders with every figure."""
    text = (dist / CARD_NAME).read_text(encoding="utf-8")
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        yield f"{CARD_NAME}: no front matter between two lines of ---"
        return
    try:
        values = yaml.safe_load(parts[1])
        info = {one["config_name"]: one for one in values["dataset_info"]}
        splits = {one["name"]: int(one["num_examples"]) for one in info["default"]["splits"]}
        kept = [Features._from_yaml_list(info[name]["features"]) for name in ("default", "preview")]
        patterns = {
            (config["config_name"], one["split"]): str(one["path"])
            for config in values["configs"]
            for one in config["data_files"]
        }
        n_default = sum(bool(config.get("default")) for config in values["configs"])
        tags, licence = list(values["tags"]), values["license"]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"{CARD_NAME}: front matter cannot be understood ({error!r})"
        return
    preview = Features.from_arrow_schema(pq.read_schema(dist / PREVIEW_NAME))
    if kept != [expected_features(manifest), preview]:
        yield f"{CARD_NAME}: its features are not those of the Parquet files"
    if splits != manifest.splits:
        yield f"{CARD_NAME}: splits {splits}; the manifest says {manifest.splits}"
    if n_default != 1:
        yield f"{CARD_NAME}: {n_default} default configs; expected one"
    if not licence or "synthetic" not in tags:
        yield f"{CARD_NAME}: no licence, or no tag `synthetic`"
    for (config, split), pattern in patterns.items():
        if not any(dist.glob(pattern)):
            yield f"{CARD_NAME}: config {config}, split {split}: no file is called {pattern}"
    html = MarkdownIt("commonmark").enable("table").render(parts[2])
    if "<h1>" not in html or "<table>" not in html:
        yield f"{CARD_NAME}: renders without a title or a table"
    if re.search(r"<(?:script|iframe|object|embed|form)\b", html, re.IGNORECASE):
        yield f"{CARD_NAME}: renders with active HTML"
    for figure in re.findall(r'<img src="([^"]+)"', html):
        if not figure.startswith("https://") and not inside(dist, figure).is_file():
            yield f"{CARD_NAME}: shows {figure}, which is not there"
    for word in ("Not for clinical use", "synthetic"):
        if word.lower() not in html.lower():
            yield f"{CARD_NAME}: does not say {word!r}"


def croissant_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """`croissant.json` by mlcroissant, and against the manifest."""
    path = dist / croissant.CROISSANT_NAME
    for issue in croissant.validate(path):
        if "is recommended, but does not exist" not in issue:
            yield f"{path.name}: {issue}"
    told = json.loads(path.read_text(encoding="utf-8"))
    hashes = {
        one["@id"]: one["sha256"] for one in told["distribution"] if one["@type"] == "cr:FileObject"
    }
    if hashes != {shard.name: shard.sha256 for shard in manifest.shards}:
        yield f"{path.name}: its files are not the shards"
    if told["version"] != manifest.version:
        yield f"{path.name}: version {told['version']}; the manifest says {manifest.version}"


def text_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """Tokens, places of this machine and personal text, in files, footers and columns."""
    own = str(manifest.card.get("contact", ""))
    for name in [MANIFEST_NAME, *(file.name for file in manifest.files)]:
        if name.endswith(TEXT_SUFFIXES):
            text = (dist / name).read_text(encoding="utf-8")
            yield from _private(text.replace(own, "") if own else text, name)
    for shard in manifest.shards:
        yield from _private(_footer(inside(dist, shard.name)), f"{shard.name}, footer")
    schema = pq.read_schema(inside(dist, manifest.shards[0].name))
    columns = [field.name for field in schema if str(field.type) == "string"]
    for shard, one in iter_rows(dist, manifest.shards, columns):
        where = f"{shard.name}, row {one['id']}"
        for column in columns:
            if one[column]:
                yield from _private(one[column], f"{where}, {column}")
        yield from _personal(one["prompt"], f"{where}, prompt")
    for one in rejected_rows(dist, manifest.shards):
        yield from _personal(str(one["prompt"]), f"rejected.jsonl, row {one['id']}, prompt")


def _footer(path: Path) -> str:
    told = pq.read_metadata(path).metadata or {}
    return "\n".join(
        value.decode("utf-8", "replace") for key, value in told.items() if key != b"ARROW:schema"
    )


def _private(text: str, where: str) -> Iterator[str]:
    for what, pattern in PRIVATE.items():
        found = pattern.search(text)
        if found:
            yield f"{where}: holds {what} ({found[0][:8]}…)"


def _personal(text: str, where: str) -> Iterator[str]:
    for what, pattern in PERSONAL.items():
        if pattern.search(text):
            yield f"{where}: holds {what}; a prompt must not describe a real patient"


def load_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """`load_dataset` of every config and split, plain and streaming, counted and compared."""
    expected = {("default", split): n for split, n in manifest.splits.items()}
    expected[("preview", "train")] = int(pq.read_metadata(dist / PREVIEW_NAME).num_rows)
    with quiet_datasets(), tempfile.TemporaryDirectory(prefix="publish-check-") as cache:
        for (config, split), n in expected.items():
            where = f"config {config}, split {split}"
            try:
                rows = load_dataset(str(dist), config, split=split, cache_dir=cache)
                stream = load_dataset(str(dist), config, split=split, streaming=True)
                ids = list(rows["id"])
                streamed = [one["id"] for one in stream.select_columns(["id"])]
                decoded = next(iter(stream))
            except Exception as error:  # noqa: BLE001 - whatever a user would meet
                first = str(error).strip().splitlines()[:1]
                yield f"{where}: {type(error).__name__}: {first}"
                continue
            if len(ids) != n:
                yield f"{where}: {len(ids)} rows loaded, {n} expected"
            if streamed != ids:
                yield f"{where}: streaming gives other rows"
            if decoded["image"].size != rows[0]["image"].size:
                yield f"{where}: streaming gives another picture"
            del rows, stream
