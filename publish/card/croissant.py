"""`croissant.json`: the dataset for machines (Croissant 1.1 with RAI and PROV).

Made from the manifest, with a SHA-256 for each Parquet file, which the Hub's own file has not.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lungsynth import RESEARCH_NOTICE
from publish.data.licences import all_sources, licence_of
from publish.data.manifest import Manifest
from publish.data.parsing import from_mapping
from publish.data.schema import column_name
from publish.data.settings import CardSettings

CROISSANT_NAME = "croissant.json"
CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
LICENCE_URLS = {
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
}
CODE_URL = "https://www.apache.org/licenses/LICENSE-2.0"

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "arrayShape": "cr:arrayShape",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "value": "cr:value",
}

RAI = {
    "rai:dataCollection": "Drawn by a text-to-image diffusion model; no film of a patient is in it.",
    "rai:dataCollectionType": "Software Collection",
    "rai:dataAnnotationProtocol": "Masks are read from the model's cross-attention by class tokens "
    "and refined; no person drew or checked them.",
    "rai:dataLimitations": "Machine-made pictures and masks. What a prompt asks for is not a finding "
    "of the picture. Every split is synthetic: results on them say nothing about real films.",
    "rai:dataBiases": "Inherits the age groups, views, devices and hospitals of the model's training "
    "data, and what the quality filter lets through.",
    "rai:dataUseCases": "Research on synthetic data and on segmentation. Not for diagnosis, treatment "
    "or any clinical decision.",
    "rai:dataSocialImpact": "Lets segmentation be studied without access to patients' films; could "
    "mislead where it is taken for real, so every picture is marked as synthetic.",
    "rai:personalSensitiveInformation": "None is intended: pictures are synthetic and prompts are "
    "invented. A model can repeat training films; see the card for what was measured.",
    "rai:dataReleaseMaintenancePlan": "Released by semantic version; withdrawn rows are listed in "
    "errata.jsonl and in the card.",
    "rai:hasSyntheticData": True,
}

TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "float": "sc:Float",
    "int32": "sc:Integer",
    "int64": "sc:Integer",
}


def make(manifest: Manifest, out: Path) -> dict[str, Any]:
    """The JSON-LD value, with the columns of the first shard in the dataset folder."""
    card = from_mapping(CardSettings, manifest.card, "card")
    sources = all_sources(manifest.sources, card)
    licence = licence_of(sources, card.licence)
    model = (
        f"lungsynth checkpoint {manifest.config['model']} (weights {manifest.config['model_hash']})"
    )
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": card.title,
        "description": f"{manifest.n_rows} synthetic frontal chest X-rays with masks. {RESEARCH_NOTICE}",
        "version": manifest.version,
        **({"datePublished": manifest.date} if manifest.date else {}),
        "license": LICENCE_URLS.get(licence.identifier, licence.reason),
        "url": f"https://huggingface.co/datasets/{card.repo}"
        if card.repo
        else "https://schema.org/",
        "citeAs": f"{', '.join(card.authors) or 'The authors'}: {card.title}, version "
        f"{manifest.version}",
        "creator": [
            {"@type": "sc:Organization", "name": name} for name in card.authors or ("not stated",)
        ],
        "keywords": ["synthetic", "chest X-ray", "segmentation", "medical imaging"],
        "isLiveDataset": False,
        "usageInfo": "http://purl.obolibrary.org/obo/DUO_0000042",  # general research use
        **RAI,
        "prov:wasDerivedFrom": [
            {
                "@id": f"urn:source:{k}",
                "@type": "prov:Entity",
                "sc:name": one.name,
                "sc:description": f"{one.title or one.name}; used for {one.used_for}",
                "sc:license": one.licence,
                "sc:creditText": one.terms,
                **({"sc:url": one.url} if one.url else {}),
            }
            for k, one in enumerate(sources)
        ],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "sc:name": "publish build",
            "sc:description": f"{manifest.n_drawn} rows drawn by {model}, "
            f"{manifest.n_drawn - manifest.n_rows} not published",
            "prov:wasAssociatedWith": {
                "@type": "prov:SoftwareAgent",
                "sc:name": "lungsynth",
                "sc:softwareVersion": str(manifest.config["code_version"]),
                "sc:license": CODE_URL,
            },
            "prov:used": {"@type": "prov:Entity", "sc:name": model},
        },
        "distribution": _distribution(manifest),
        "recordSet": _record_sets(manifest, out),
    }


def _distribution(manifest: Manifest) -> list[dict[str, Any]]:
    """A file object with its hash for every shard, and a set of each split."""
    found: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": shard.name,
            "name": shard.name,
            "contentUrl": shard.name,
            "contentSize": f"{shard.n_bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": shard.sha256,
        }
        for shard in manifest.shards
    ]
    found += [
        {
            "@type": "cr:FileSet",
            "@id": f"shards-{split}",
            "name": f"shards of {split}",
            "encodingFormat": "application/x-parquet",
            "includes": f"data/{split}-*.parquet",
        }
        for split in manifest.splits
    ]
    return found


def _record_sets(manifest: Manifest, out: Path) -> list[dict[str, Any]]:
    """Mask values with their names, and a record set a split."""
    labels = {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "What the values of `mask` mean.",
        "key": {"@id": "classes/value"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": "classes/value",
                "name": "value",
                "dataType": "sc:Integer",
            },
            {"@type": "cr:Field", "@id": "classes/name", "name": "name", "dataType": "sc:Text"},
        ],
        "data": [
            {"classes/value": int(value), "classes/name": name}
            for value, name in manifest.classes.items()
        ],
    }
    return [labels] + [
        {
            "@type": "cr:RecordSet",
            "@id": split,
            "name": split,
            "description": f"Rows of the split {split}; all of them are synthetic.",
            "key": {"@id": f"{split}/id"},
            "field": _fields(manifest, out, split),
        }
        for split in manifest.splits
    ]


def _fields(manifest: Manifest, out: Path, split: str) -> list[dict[str, Any]]:
    shards = [s for s in manifest.shards if s.split == split]
    soft = {column_name("probability", n) for n in manifest.classes.values()}
    found = []
    for column in pq.read_schema(out / shards[0].name):
        one: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{split}/{column.name}",
            "name": column.name,
            "source": {"fileSet": {"@id": f"shards-{split}"}, "extract": {"column": column.name}},
        }
        if pa.types.is_struct(column.type):
            mask = column.name == "mask" or column.name in soft
            kind: Any = ["cr:SegmentationMask", "sc:ImageObject"] if mask else "sc:ImageObject"
            one["dataType"] = kind
            if column.name == "mask":
                convention = str(manifest.config["convention"])
                rule = f", by the convention {convention}" if convention else ""
                one["description"] = f"Class ids; see the record set `classes`{rule}."
            one["source"]["transform"] = {"jsonPath": "bytes"}
        elif pa.types.is_list(column.type):
            if pa.types.is_struct(column.type.value_type):
                continue  # attention maps: lists of pictures, which Croissant cannot name
            one |= {
                "dataType": TYPES[str(column.type.value_type)],
                "isArray": True,
                "arrayShape": "-1",
            }
        else:
            one["dataType"] = TYPES[str(column.type)]
        found.append(one)
    return found


def validate(path: Path) -> list[str]:
    """What mlcroissant finds wrong with a `croissant.json`; [] when nothing."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        import mlcroissant as mlc  # deferred: slow to import

        try:
            dataset = mlc.Dataset(jsonld=str(path))
        except mlc.ValidationError as error:
            return [line.strip() for line in str(error).splitlines() if line.strip()]
    issues = dataset.metadata.ctx.issues
    return [*map(str, issues.errors), *map(str, issues.warnings)]
