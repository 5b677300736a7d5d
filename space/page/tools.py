"""Answers of the page's tools for language models (MCP): pictures as pictures, values as JSON."""

from __future__ import annotations

import json
from typing import Any


def plain_answers(demo: Any) -> None:
    """Have the MCP server of a launched page answer the same whether progress is asked for or not.

    Gradio gives a client that asks for no progress one text with everything in it, and values as
    Python writes them.
    """
    server = demo.mcp_server_obj
    if server is None:
        return
    original = server.postprocess_output_data

    def answer(data: Any, root_url: str) -> list[Any]:
        if len(data) == 1 and isinstance(data[0], tuple):
            data = list(data[0])
        content: list[Any] = []
        for one in data:
            if isinstance(one, dict | list) and not (isinstance(one, dict) and "path" in one):
                text = json.dumps(one, ensure_ascii=False, indent=2)
                content.append(server.types.TextContent(type="text", text=text))
            else:
                content += original([one], root_url)
        return content

    server.postprocess_output_data = answer
