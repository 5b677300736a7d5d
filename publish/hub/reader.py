"""One repository of the Hub, read: who may write, its commits, its files; typed answers, our errors.

The token is read from the environment or from `hf auth login` and appears in no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from httpx2 import UnsupportedProtocol
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from lungsynth.errors import (
    AccessError,
    BranchMovedError,
    ConfigError,
    HubError,
    LungSynthError,
    UnreachableError,
)
from publish.hub.payload import LocalFile
from publish.hub.retry import DeadlinePassed, Retry, Transient, find_cause
from publish.hub.transport import library_settings, strict_clients

T = TypeVar("T")

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


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit on the Hub."""

    size: int
    sha256: str | None  # of a large file
    git_sha1: str | None  # of a file in git; None for a large one

    def is_same_as(self, local: LocalFile) -> bool:
        """Whether it holds the bytes of a local file."""
        if self.size != local.size:
            return False
        if self.sha256 is not None:
            return self.sha256 == local.sha256
        return self.git_sha1 == local.git_sha1


@dataclass(frozen=True)
class RepoState:
    """A repository at one moment."""

    head: str  # SHA of main
    is_private: bool
    tags: dict[str, str]  # name -> SHA


def check_repo_name(name: str) -> None:
    """Refuse what is no ORG/NAME.

    Raises:
        ConfigError: it is something else.
    """
    try:
        validate_repo_id(name)
        good = name.count("/") == 1 and all(p.strip(".") for p in name.split("/"))
    except HFValidationError:
        good = False
    if not good:
        raise ConfigError(
            f"--repo {name!r}: not a name on the Hub; expected ORG/NAME, such as "
            "lab/synthetic-cxr (letters, digits, '-', '_', '.'; no '..', no '--', no folder)."
        )


class HubReader:
    """One repository of the Hub, read."""

    def __init__(
        self,
        name: str,
        kind: str,
        retry: Retry,
        *,
        connect_s: float = 15.0,
        read_s: float = 180.0,
        quiet: bool = True,
    ) -> None:
        """Look at a repository ORG/NAME of a kind, dataset, model or space; nothing is sent yet.

        Reaching the server may take `connect_s`, and `read_s` may pass without a byte from it: a
        commit of many files takes the Hub a minute. Without `quiet` progress bars are shown.
        """
        self.name, self.kind, self.retry, self.quiet = name, kind, retry, quiet
        self._timeouts = {"connect_s": connect_s, "read_s": read_s}

    @property
    def endpoint(self) -> str:
        """Address of the server: HF_ENDPOINT, or the public Hub."""
        return str(constants.ENDPOINT)

    @property
    def url(self) -> str:
        """Page of the repository."""
        folder = {"dataset": "datasets/", "space": "spaces/"}.get(self.kind, "")
        return f"{self.endpoint}/{folder}{self.name}"

    @property
    def _api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, library_name="lungsynth")

    @contextmanager
    def connected(self, cache: Path) -> Iterator[None]:
        """Requests are bounded in time, downloads go into `cache`, inside the block."""
        with ExitStack() as stack:
            stack.enter_context(strict_clients(self.retry.deadline, **self._timeouts))
            stack.enter_context(library_settings(HF_HUB_CACHE=str(cache)))
            stack.enter_context(library_settings(HF_HUB_DISABLE_XET=constants.HF_HUB_DISABLE_XET))
            if self.quiet and not are_progress_bars_disabled():
                disable_progress_bars()
                stack.callback(enable_progress_bars)
            yield

    def _do(self, what: str, act: Callable[[], T]) -> T:
        """Call the Hub, again where that helps, with its errors as ours."""
        try:
            return self.retry.call(what, act)
        except (LungSynthError, Transient):
            raise
        except Exception as error:
            raise self.translated(what, error) from error

    def translated(self, what: str, error: Exception) -> Exception:
        """A final error of the library as one of ours, without the token; others as they are."""
        if find_cause(error, OfflineModeIsEnabled):
            return UnreachableError(f"{what}: HF_HUB_OFFLINE is set. Unset it to publish.")
        if find_cause(error, DeadlinePassed):
            return UnreachableError(
                f"{what}: not done within {self.retry.deadline.seconds:g} s. Give a longer --deadline."
            )
        answer = find_cause(error, HfHubHTTPError)
        if answer is None:
            if isinstance(error, ValueError | UnsupportedProtocol):  # no JSON, no address
                return HubError(
                    f"{what}: {redact(str(error))[:300]}. Is {self.endpoint} a Hub? See HF_ENDPOINT."
                )
            return error
        status = answer.response.status_code
        words = redact(" ".join(str(answer.server_message or answer).split()))[:300]
        if status in (401, 403):
            return AccessError(
                f"{what}: {status}, {words}. {TOKEN_HELP.format(self.endpoint)}; it must be allowed to "
                f"write to {self.name}."
            )
        if status in (409, 412):
            return BranchMovedError(
                f"{what}: {status}, {words}. Look at {self.name} and run again."
            )
        return HubError(f"{what}: {status}, {words}")

    def check_account(self) -> str:
        """The name of the user whose token this is; it can write here.

        Raises:
            AccessError: there is no token, it is not valid, its role is not `write`, or the
                repository would be somebody else's.
        """
        if not get_token():
            raise AccessError(f"No token. {TOKEN_HELP.format(self.endpoint)}.")
        said = self._do("whoami", self._api.whoami)
        user = str(said.get("name", "?"))
        token = (said.get("auth") or {}).get("accessToken") or {}
        role = token.get("role", "write")
        namespace = self.name.split("/")[0]
        if role == "read":
            raise AccessError(
                f"The token of {user} has the role `read`. {TOKEN_HELP.format(self.endpoint)}."
            )
        if role == "write" and "orgs" in said:
            own = [user, *(str(org.get("name")) for org in said["orgs"])]
            if namespace not in own:
                raise AccessError(
                    f"--repo {self.name}: {user} may write to {', '.join(own)}, not to {namespace}. "
                    "Give a name there, log in as somebody else, or be let in."
                )
        if role == "fineGrained" and not _fine_grained_writes(token, self.name):
            raise AccessError(
                f"The fine-grained token of {user} has no `repo.write` for {self.name}. Give it write "
                f"access to the repositories of {namespace}."
            )
        return user

    def state(self) -> RepoState | None:
        """The repository as it is; None when there is none (or it is hidden from this token)."""

        def look() -> RepoState | None:
            try:
                info = self._api.repo_info(self.name, repo_type=self.kind)
                refs = self._api.list_repo_refs(self.name, repo_type=self.kind)
            except RepositoryNotFoundError:
                return None
            head = next(ref.target_commit for ref in refs.branches if ref.name == "main")
            tags = {ref.name: ref.target_commit for ref in refs.tags}
            return RepoState(head, bool(info.private), tags)

        return self._do(f"reading {self.name}", look)

    def tree(self, sha: str) -> dict[str, RemoteFile]:
        """Path -> file of a commit.

        Raises:
            HubError: there is no such commit.
        """

        def look() -> dict[str, RemoteFile]:
            found = {}
            for entry in self._api.list_repo_tree(
                self.name, recursive=True, revision=sha, repo_type=self.kind
            ):
                if isinstance(entry, RepoFile):
                    large = entry.lfs
                    found[entry.path] = (
                        RemoteFile(entry.size, None, entry.blob_id)
                        if large is None
                        else RemoteFile(large.size, large.sha256, None)
                    )
            return found

        return self._do(f"listing {self.name} at {sha[:8]}", look)

    def download(self, path: str, sha: str) -> Path:
        """A file of a commit, into the cache."""
        return Path(
            self._do(
                f"downloading {path}",
                lambda: self._api.hf_hub_download(
                    self.name, path, revision=sha, repo_type=self.kind
                ),
            )
        )


def _fine_grained_writes(token: Mapping[str, Any], name: str) -> bool:
    scoped = (token.get("fineGrained") or {}).get("scoped")
    if scoped is None:
        return True  # unknown; the Hub will answer
    names = (name, name.split("/")[0])
    return any(
        (scope.get("entity") or {}).get("name") in names and "repo.write" in scope["permissions"]
        for scope in scoped
    )
