"""The Hub, as the rest of publish sees it: one repository that is read and written, our errors.

Only this file, `publish.hub.reader` and `publish.hub.transport` know the requests
of huggingface_hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, constants
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status
from huggingface_hub.utils._runtime import is_xet_available

from lungsynth.errors import ConfigError, HubError
from publish.hub.payload import LocalFile
from publish.hub.reader import HubReader, redact
from publish.hub.retry import Transient, find_cause


class Hub(HubReader):
    """One repository of the Hub, read and written; see `HubReader` for its arguments."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._adds: dict[str, CommitOperationAdd] = {}

    def create(self, *, private: bool, hardware: str | None = None) -> None:
        """Make the repository; it may be there already."""
        self._do(
            f"creating {self.name}",
            lambda: self._api.create_repo(
                self.name,
                repo_type=self.kind,
                private=private,
                exist_ok=True,
                space_sdk="gradio" if self.kind == "space" else None,
                space_hardware=hardware,  # type: ignore[arg-type]
            ),
        )

    def check_card(self, path: Path) -> None:
        """Let the Hub judge a card's front matter, before anything large is sent.

        Raises:
            ConfigError: it is not valid.
        """
        text = path.read_text(encoding="utf-8")

        def ask() -> None:
            try:
                self._api._validate_yaml(text, repo_type=self.kind)
            except ValueError as error:
                if "Invalid metadata" not in str(error):
                    raise
                raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error

        self._do("checking the card", ask)

    def choose_storage(self) -> None:
        """Large files go by Xet; a server without it is sent them by LFS.

        HF_HUB_DISABLE_XET=1 chooses LFS from the start.
        """
        if not is_xet_available():
            return
        url = f"{self.endpoint}/api/{self.kind}s/{self.name}/xet-write-token/main"

        def ask() -> bool:
            response = get_session().get(url, headers=build_hf_headers())
            if response.status_code == 404:
                return False
            hf_raise_for_status(response)
            return True

        if not self._do("asking for Xet storage", ask):
            constants.HF_HUB_DISABLE_XET = True  # until `connected` ends

    def _add(self, path: str, file: LocalFile) -> CommitOperationAdd:
        """The library's notice of a file, which remembers that it was uploaded."""
        if path not in self._adds:
            try:
                self._adds[path] = CommitOperationAdd(path, str(file.path))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{file.path}: cannot be read any more ({error}).") from error
            self._adds[path].upload_info.sha256 = bytes.fromhex(file.sha256)
        return self._adds[path]

    def upload(self, path: str, file: LocalFile) -> None:
        """Send a large file into the Hub's storage; no commit holds it yet. Small ones: nothing."""

        def is_worth_it(error: Exception) -> bool:
            """The storage refused the bytes it got, or Xet, whose errors say little, failed."""
            answer = find_cause(error, HfHubHTTPError)
            return answer is None or answer.response.status_code == 400

        def send() -> None:
            try:
                self._api.preupload_lfs_files(
                    self.name, [self._add(path, file)], repo_type=self.kind, free_memory=False
                )
            except (RuntimeError, ConnectionError, HfHubHTTPError) as error:
                if find_cause(error, Transient) or not is_worth_it(error):
                    raise
                raise Transient(redact(str(error.__cause__ or error))) from error

        self._do(f"uploading {path}", send)

    def forget_uploads(self) -> None:
        """Ask the storage again for every file: the Hub said one is missing."""
        self._adds.clear()

    def commit(
        self, files: Mapping[str, LocalFile], deletions: Sequence[str], *, message: str, parent: str
    ) -> str:
        """Change the branch main in one commit, if it is still at `parent`; its SHA. Sent once.

        Raises:
            Transient: it may or may not have happened; look before you try again.
            BranchMovedError: main is not at `parent`, or another commit is under way.
            AccessError: the token may not.
            HubError: refused for another reason.
        """
        operations: list[Any] = [self._add(path, file) for path, file in files.items()]
        operations += [CommitOperationDelete(path) for path in deletions]
        try:
            self.retry.deadline.check()
            return self._api.create_commit(
                self.name,
                operations,
                commit_message=message,
                parent_commit=parent,
                repo_type=self.kind,
            ).oid
        except Exception as error:
            passing = find_cause(error, Transient)
            if passing is not None:
                raise passing from error
            raise self.translated("commit", error) from error

    def create_tag(self, tag: str, sha: str) -> None:
        """Name a commit. Sent once.

        Raises:
            Transient, AccessError, HubError: as `commit`; BranchMovedError: the tag exists.
        """
        try:
            self.retry.deadline.check()
            self._api.create_tag(self.name, tag=tag, revision=sha, repo_type=self.kind)
        except RevisionNotFoundError as error:
            raise HubError(f"tag {tag}: the Hub does not know commit {sha}.") from error
        except Exception as error:
            passing = find_cause(error, Transient)
            if passing is not None:
                raise passing from error
            raise self.translated(f"tag {tag}", error) from error
