"""Errors of the Hub's library as ours, without the token."""

from __future__ import annotations

import re

from httpx2 import UnsupportedProtocol
from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from lungsynth.errors import AccessError, BranchMovedError, HubError, UnreachableError
from publish.hub.retry import DeadlinePassed, find_cause

SECRET = re.compile(r"hf_[A-Za-z0-9_]{8,}|(?i:bearer)\s+\S+")
TOKEN_HELP = (
    "Make one with the role `write` at {}/settings/tokens and run `hf auth login`, or set HF_TOKEN"
)


def redact(text: str) -> str:
    """A message without anything that looks like a token."""
    token = get_token()
    if token:
        text = text.replace(token, "[token]")
    return SECRET.sub("[token]", text)


def translated(
    what: str, error: Exception, *, repo: str, endpoint: str, deadline_s: float
) -> Exception:
    """A final error of the library as one of ours; others as they are."""
    if find_cause(error, OfflineModeIsEnabled):
        return UnreachableError(f"{what}: HF_HUB_OFFLINE is set. Unset it to publish.")
    if find_cause(error, DeadlinePassed):
        return UnreachableError(
            f"{what}: not done within {deadline_s:g} s. Give a longer --deadline."
        )
    answer = find_cause(error, HfHubHTTPError)
    if answer is None:
        if isinstance(error, ValueError | UnsupportedProtocol):  # no JSON, no address
            return HubError(
                f"{what}: {redact(str(error))[:300]}. Is {endpoint} a Hub? See HF_ENDPOINT."
            )
        return error
    status = answer.response.status_code
    words = redact(" ".join(str(answer.server_message or answer).split()))[:300]
    if status in (401, 403):
        return AccessError(
            f"{what}: {status}, {words}. {TOKEN_HELP.format(endpoint)}; it must be allowed to "
            f"write to {repo}."
        )
    if status in (409, 412):
        return BranchMovedError(f"{what}: {status}, {words}. Look at {repo} and run again.")
    return HubError(f"{what}: {status}, {words}")
