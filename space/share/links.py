"""Links that draw a picture again, and code that does the same elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from lungsynth.errors import ConfigError
from lungsynth.permalink import NAMES, Permalink, read_query, refine_names, to_query
from space.draw.actions import check_numbers

LOCAL = "http://127.0.0.1:7860"


def link(asked: Permalink, origin: str = "") -> str:
    """An address that opens the page, at `origin` such as https://lab-page.hf.space, and draws the
    same.
    """
    return f"{_page(origin)}/?{to_query(asked)}"


def _page(origin: str) -> str:
    """Where the page is opened; `LOCAL` for what is no address."""
    return origin if re.fullmatch(r"https?://[\w.\-]+(:\d{1,5})?", origin or "") else LOCAL


def read_link(query: str | Mapping[str, str]) -> Permalink | None:
    """What a link asks for, within what the page draws; None when it names no prompt.

    Raises:
        ConfigError: a value in it is none, or out of range.
    """
    asked = read_query(query)
    if asked is not None:
        check_numbers(asked.seed, asked.steps, asked.guidance)
    return asked


def settings_of(asked: Permalink) -> str:
    """What a link says beside prompt, seed, steps and guidance: the `settings` of the endpoint."""
    bare = replace(asked, weights="", row="")
    told = to_query(bare).split("&")[4:]
    # the endpoint's own choice depends on its processor, so it is written down
    return "&".join(told if "precision=" in "&".join(told) else ["precision=fp32", *told])


def read_settings(settings: str) -> Permalink:
    """The endpoint's `settings`, `size=320&method=cross&crf.theta_beta=8` as in a link, as one
    without a prompt.

    Raises:
        ConfigError: a name or a value in it is none.
    """
    given = parse_qs(str(settings).lstrip("?&"), keep_blank_values=True)
    named = [name for name in NAMES if name not in ("weights", "row")]
    there = [*named, "guidance_interval", *refine_names()]
    for name in given:
        if name not in there:
            raise ConfigError(f"`settings` names {name[:40]!r}; there are {', '.join(there)}.")
    read = read_query({"prompt": "-", **{name: values[-1] for name, values in given.items()}})
    assert read is not None
    return read if "precision" in given else replace(read, precision="auto")


def python_snippet(asked: Permalink, *, model: str = "mini") -> str:
    """Python that draws the same, and refines the mask in the same way, with the library."""
    height, width = asked.pixels()
    sampling = [f"steps={asked.steps}", f"guidance={asked.guidance:g}"]
    if asked.guidance_interval is not None:
        sampling.append(f"guidance_interval={asked.guidance_interval}")
    sampling += [f"height={height}, width={width}"] if height else []
    sampling += [f"scheduler={asked.scheduler!r}"] if asked.scheduler else []
    sampling.append(f"precision={asked.precision!r}")
    refining = _differences(asked.config())
    more = ", refine_config=config" if refining else ""
    named = f", classes={asked.classes!r}" if asked.classes else ""
    return (
        "from pathlib import Path\n"
        + ("from lungsynth.masks.crf import CrfConfig\n" if "CrfConfig" in refining else "")
        + "from lungsynth.output import write_result\n"
        "from lungsynth.pipeline import Synthesizer\n"
        + ("from lungsynth.masks.refine import RefineConfig\n" if refining else "")
        + "from lungsynth.model.sampling import SampleOptions\n\n"
        f"options = SampleOptions({', '.join(sampling)})\n"
        + (f"config = {refining}\n" if refining else "")
        + f"synthesizer = Synthesizer({model!r}{named})\n"
        f"[result] = synthesizer.generate([{asked.prompt!r}], [{asked.seed}], options=options{more})\n"
        'write_result(result, Path("out"))\n'
    )


def _differences(config: Any) -> str:
    """A configuration as the call that makes it, with what is not the default; "" for the defaults."""
    if config == type(config)():
        return ""
    default = type(config)()
    told = []
    for one in fields(config):
        value = getattr(config, one.name)
        if value != getattr(default, one.name):
            told.append(f"{one.name}={_differences(value) if is_dataclass(value) else repr(value)}")
    return f"{type(config).__name__}({', '.join(told)})"


def _values(asked: Permalink) -> list[Any]:
    """What the endpoint `generate` is given for a link."""
    return [asked.prompt, asked.seed, asked.steps, asked.guidance, "", settings_of(asked)]


def client_snippet(asked: Permalink, origin: str = "") -> str:
    """Python that has this page draw the same, over its API."""
    given = ", ".join(repr(one) for one in _values(asked))
    return (
        "from gradio_client import Client\n\n"
        f"page = Client({_page(origin)!r})\n"
        "image, mask, overlay, record, archive, summary = page.predict(\n"
        f'    {given}, api_name="/generate"\n)\n'
        "print(image, summary)  # image: path of a PNG; record: a dict\n"
    )


def javascript_snippet(asked: Permalink, origin: str = "") -> str:
    """JavaScript that has this page draw the same, over its API."""
    given = json.dumps(_values(asked), ensure_ascii=False)
    return (
        'import { Client } from "@gradio/client";\n\n'
        f"const page = await Client.connect({json.dumps(_page(origin))});\n"
        f'const {{ data }} = await page.predict("/generate", {given});\n'
        "const [image, mask, overlay, record, archive, summary] = data;\n"
        "console.log(image.url, record.scores, summary);\n"
    )


def curl_snippet(asked: Permalink, origin: str = "") -> str:
    """A shell command that has this page draw the same, over its API."""
    data = json.dumps({"data": _values(asked)}, ensure_ascii=False)
    call = f"{_page(origin)}/gradio_api/call/generate"
    return (
        f"id=$(curl -s {call} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(data)} | cut -d'\"' -f4)\n"
        f"curl -sN {call}/$id\n"
    )
