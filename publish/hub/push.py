"""Plan -> uploads -> one commit -> verification -> tag.

`main` changes once, from the old files to the new ones, or not at all. A tag is made last, on a
commit that was read back, and never moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lungsynth.errors import (
    BranchMovedError,
    HubError,
    LungSynthError,
    TagExistsError,
    UnreachableError,
)
from publish.hub.payload import Payload
from publish.hub.push_plan import Changes, Plan, Tree, compare
from publish.hub.reader import RepoState
from publish.hub.repository import Hub
from publish.hub.retry import Transient
from publish.hub.verify import verify


@dataclass
class Progress:
    """How far a push has come, for the message when it breaks off."""

    head: str | None = None  # before
    is_committing: bool = False
    commit: str | None = None
    is_verified: bool = False

    def describe(self) -> str:
        """The state of `main`, in words."""
        if self.commit is not None:
            told = "read back, not tagged" if self.is_verified else "not read back, not tagged"
            return f"Main holds the whole of it at {self.commit[:8]} ({told})"
        if self.is_committing:
            return "Main is either as it was or holds the whole of it"
        return f"Main is as it was ({self.head[:8]})" if self.head else "Nothing was committed"


@dataclass(frozen=True)
class Outcome:
    """How a push ended."""

    status: str  # "published" or "nothing to do"
    commit: str
    tag: str | None
    verified: dict[str, Any] | None


def push(
    hub: Hub,
    payload: Payload,
    plan: Plan,
    *,
    message: str,
    progress: Progress,
    contents: bool = True,
    hardware: str | None = None,
    say: Callable[[str], None],
) -> Outcome:
    """Carry out a plan of `make_plan`; `say` is called with a line about each step.

    `progress` is kept up to date, to explain a failure. With `contents` every file is read back,
    see `publish.hub.verify.verify`; `hardware` is of a Space that is created.

    Raises:
        AccessError, BranchMovedError, UnreachableError, VerificationError, TagExistsError: see
            their classes. `main` holds the old files or the new ones, never a part of them.
    """
    progress.head = plan.head
    if plan.is_done:
        assert plan.head is not None
        return Outcome("nothing to do", plan.head, plan.tag, None)
    state = _existing(hub, plan, hardware, say)
    progress.head = state.head
    sha = _commit(hub, payload, state.head, message, progress, say)
    progress.commit = sha
    report = verify(hub, payload, sha, contents=contents, say=say)
    progress.is_verified = True
    if plan.tag is not None:
        say(f"tagging {sha[:8]} as {plan.tag}")
        _tag(hub, plan.tag, sha)
    return Outcome("published", sha, plan.tag, report)


def _existing(hub: Hub, plan: Plan, hardware: str | None, say: Callable[[str], None]) -> RepoState:
    """The repository, made when there is none."""
    state = hub.state()
    if state is None:
        say(f"creating {hub.name}, {'private' if plan.is_private else 'public'}")
        hub.create(private=plan.is_private, hardware=hardware)
        state = hub.state()
    if state is None:
        raise HubError(f"{hub.name} was created, but cannot be seen. Look at {hub.url}.")
    if state.is_private != plan.is_private:
        raise HubError(
            f"{hub.name} is {'private' if state.is_private else 'public'}, not as planned: somebody "
            "else made or changed it. Look at it and run again."
        )
    return state


def _commit(
    hub: Hub,
    payload: Payload,
    head: str,
    message: str,
    progress: Progress,
    say: Callable[[str], None],
) -> str:
    """Bring main from any state to the payload in one commit; its SHA, or that of main as it is."""
    tree: Tree = hub.tree(head)
    attempt, may_land = 0, False
    while True:
        changes = compare(payload, tree)
        if not changes.touched:
            return head
        if attempt == 0:
            if "README.md" in changes.sent:
                hub.check_card(payload.files["README.md"].path)
            hub.choose_storage()
        for number, path in enumerate(changes.sent, 1):
            say(f"uploading {number} of {len(changes.sent)}: {path}")
            hub.upload(path, payload.files[path])
        attempt += 1
        say(
            f"committing {len(changes.sent)} files and {len(changes.deleted)} deletions on {head[:8]}"
        )
        progress.is_committing = True
        try:
            return hub.commit(
                {path: payload.files[path] for path in changes.sent},
                changes.deleted,
                message=message,
                parent=head,
            )
        except UnreachableError:
            raise  # the deadline
        except (Transient, HubError) as error:
            may_land = may_land or (isinstance(error, Transient) and error.may_have_happened)
            progress.is_committing = may_land
            if not isinstance(error, Transient | BranchMovedError):
                if "LFS pointer" not in str(error):
                    raise
                hub.forget_uploads()
            before, (head, tree) = tree, _look_again(hub)
            if not compare(payload, tree).touched:
                return head  # it happened, though the answer was lost
            _refuse_foreign_changes(hub, changes, before, tree)
            _pause(hub, attempt, error)


def _look_again(hub: Hub) -> tuple[str, Tree]:
    state = hub.state()
    if state is None:
        raise HubError(
            f"{hub.name} is gone: it was deleted or renamed meanwhile. Look and run again."
        )
    return state.head, hub.tree(state.head)


def _pause(hub: Hub, attempt: int, error: Exception) -> None:
    try:
        hub.retry.pause("commit", attempt, error)
    except UnreachableError as over:
        if isinstance(error, BranchMovedError):
            raise BranchMovedError(str(over)) from error
        raise


def _refuse_foreign_changes(hub: Hub, changes: Changes, before: Tree, after: Tree) -> None:
    """Stop when somebody else's commit touched what ours would overwrite."""
    theirs = [path for path in changes.touched if before.get(path) != after.get(path)]
    if theirs:
        raise BranchMovedError(
            f"Somebody else changed {theirs[0]} of {hub.name} meanwhile. Look at {hub.url} and run "
            "the command again to replace it."
        )


def _tag(hub: Hub, tag: str, sha: str) -> None:
    """Tag a commit, or see that it is tagged; somebody else may give the tag away meanwhile."""
    attempt = 0
    while True:
        attempt += 1
        try:
            hub.create_tag(tag, sha)
            return
        except (Transient, BranchMovedError) as error:
            state = hub.state()
            at = state.tags.get(tag) if state is not None else None
            if at == sha:
                return
            if at is not None:
                raise TagExistsError(
                    f"{tag} of {hub.name} was given to {at[:8]} meanwhile, not to {sha[:8]}. Tags are "
                    "never moved: give the next version."
                ) from error
            hub.retry.pause(f"tag {tag}", attempt, error)


def explain(error: LungSynthError, progress: Progress, resume: str) -> LungSynthError:
    """The same error, with what became of main and how to go on."""
    return type(error)(f"{error} {progress.describe()}. To go on: {resume}")
