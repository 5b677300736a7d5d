"""Requests of the Hub's protocol and what answers them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub.store import LFS_SUFFIXES, Commit, Entry, HubRefusal, Repo

if TYPE_CHECKING:
    from hub.server import Hub

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass
class Request:
    """What was asked."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    endpoint: str
    fault: str = ""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str | None:
        for name, value in self.headers.items():
            if name.lower() == "authorization":
                return value.removeprefix("Bearer ").strip()
        return None

    def header(self, wanted: str) -> str | None:
        return next((v for n, v in self.headers.items() if n.lower() == wanted), None)


@dataclass
class Answer:
    """What is said back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def ok(value: Any, **headers: str) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def error(status: int, message: str, code: str | None = None) -> Answer:
    headers = {"Content-Type": "application/json", "X-Error-Message": message}
    if code:
        headers["X-Error-Code"] = code
    return Answer(status, json.dumps({"error": message}).encode(), headers)


Act = Callable[[Request], Answer]
API = r"^/api/(?P<kinds>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
PLAIN = r"^/(?:(?P<kinds>datasets|spaces)/)?(?P<name>[^/]+/[^/]+?)"
TABLE: list[tuple[str, str, str, str]] = [
    ("GET", r"^/api/whoami-v2$", "whoami", "whoami"),
    ("POST", r"^/api/repos/create$", "create", "create"),
    ("POST", r"^/api/validate-yaml$", "validate-yaml", "validate_yaml"),
    ("GET", API + r"$", "info", "info"),
    ("GET", API + r"/revision/(?P<rev>[^/]+)$", "info", "info"),
    ("GET", API + r"/refs$", "refs", "refs"),
    ("GET", API + r"/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?$", "tree", "tree"),
    ("POST", API + r"/paths-info/(?P<rev>[^/]+)$", "tree", "paths_info"),
    ("POST", API + r"/preupload/(?P<rev>[^/]+)$", "preupload", "preupload"),
    ("POST", API + r"/commit/(?P<rev>[^/]+)$", "commit", "commit"),
    ("GET", API + r"/commits/(?P<rev>[^/]+)$", "info", "commits"),
    ("POST", API + r"/tag/(?P<rev>[^/]+)$", "tag", "tag"),
    ("POST", API + r"/branch/(?P<rev>[^/]+)$", "tag", "branch"),
    ("GET", API + r"/xet-(?:read|write)-token/(?P<rev>[^/]+)$", "xet", "xet_token"),
    ("POST", PLAIN + r"\.git/info/lfs/objects/batch$", "batch", "batch"),
    ("PUT", r"^/_lfs/(?P<kinds>\w+)/(?P<name>[^/]+/[^/]+)/(?P<oid>\w+)$", "put", "put"),
    ("POST", r"^/_lfs/(?P<kinds>\w+)/(?P<name>[^/]+/[^/]+)/verify$", "verify", "verify"),
    ("GET", PLAIN + r"/(?:resolve|raw)/(?P<rev>[^/]+)/(?P<path>.+)$", "resolve", "resolve"),
]


def find(hub: Hub, request: Request) -> tuple[str, Act]:
    """The kind of a request, and the function that answers it."""
    for method, pattern, route, name in TABLE:
        match = re.match(pattern, request.path)
        if match and method in (request.method, request.method.replace("HEAD", "GET")):
            found = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
            act = globals()[f"_{name}"]
            return route, lambda asked, found=found, act=act: act(hub, asked, **found)
    return "other", lambda asked: error(404, f"No such route: {asked.method} {asked.path}")


def _account(hub: Hub, request: Request) -> dict[str, Any] | None:
    if request.token is None:
        return None
    if request.token not in hub.users:
        raise HubRefusal(401, "Invalid credentials in Authorization header")
    return hub.users[request.token]


def _spaces_of(account: dict[str, Any]) -> set[str]:
    return {account["name"], *(org["name"] for org in account["orgs"])}


def _may_write(account: dict[str, Any] | None, name: str) -> bool:
    if account is None or name.split("/")[0] not in _spaces_of(account):
        return False
    token = account["auth"]["accessToken"]
    if token["role"] == "fineGrained":
        return any(
            scope["entity"]["name"] in (name, name.split("/")[0])
            and "repo.write" in scope["permissions"]
            for scope in token["fineGrained"]["scoped"]
        )
    return bool(token["role"] == "write")


def _open(hub: Hub, request: Request, kinds: str | None, name: str, *, write: bool = False) -> Repo:
    account = _account(hub, request)
    repo = hub.repos.get((KINDS[kinds or "models"], name))
    mine = account is not None and name.split("/")[0] in _spaces_of(account)
    if repo is None or (repo.private and not mine):
        raise HubRefusal(404 if account else 401, "Repository not found", "RepoNotFound")
    if write and not _may_write(account, name):
        raise HubRefusal(403, "Forbidden: you must use a write token to upload to a repository.")
    return repo


def _whoami(hub: Hub, request: Request) -> Answer:
    account = _account(hub, request)
    if account is None:
        raise HubRefusal(401, "Invalid credentials in Authorization header")
    return ok(account)


def _create(hub: Hub, request: Request) -> Answer:
    asked = request.json
    account = _account(hub, request)
    name = f"{asked.get('organization') or (account or {}).get('name')}/{asked['name']}"
    if not _may_write(account, name):
        raise HubRefusal(403, f"You don't have the rights to create {name}")
    kind = asked.get("type", "model")
    url = f"{hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
    if (kind, name) in hub.repos:
        return Answer(
            409,
            json.dumps({"error": "You already created this repo", "url": url}).encode(),
            {"Content-Type": "application/json"},
        )
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    hub.repos[kind, name] = Repo(kind, name, private, asked.get("sdk"), asked.get("hardware"))
    return ok({"url": url, "name": name, "id": name})


def _validate_yaml(hub: Hub, request: Request) -> Answer:
    import yaml

    text = request.json["content"]
    if not text.startswith("---\n"):
        return ok({"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
    try:
        values = yaml.safe_load(text.split("---\n", 2)[1])
        wrong = [] if isinstance(values, dict) else ["metadata must be a mapping"]
        if isinstance(values, dict) and not isinstance(values.get("widget", []), list):
            wrong.append('"widget" must be an array')
    except (yaml.YAMLError, IndexError) as problem:
        wrong = [str(problem)]
    answer = ok({"errors": [{"message": one} for one in wrong], "warnings": []})
    answer.status = 400 if wrong else 200
    return answer


def _info(hub: Hub, request: Request, kinds: str, name: str, rev: str = "main") -> Answer:
    repo = _open(hub, request, kinds, name)
    commit = repo.resolve(rev)
    return ok(
        {
            "_id": "0" * 24,
            "id": name,
            "author": name.split("/")[0],
            "sha": commit.sha,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "sdk": repo.sdk,
            "createdAt": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
        }
    )


def _refs(hub: Hub, request: Request, kinds: str, name: str) -> Answer:
    repo = _open(hub, request, kinds, name)

    def listed(found: dict[str, str], folder: str) -> list[dict[str, str]]:
        return [
            {"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": s} for n, s in found.items()
        ]

    return ok(
        {
            "branches": listed(repo.branches, "heads"),
            "converts": [],
            "tags": listed(repo.tags, "tags"),
        }
    )


def _described(path: str, entry: Entry) -> dict[str, Any]:
    said = {"type": "file", "path": path, "size": entry.size, "oid": entry.blob_oid}
    if entry.lfs_oid is not None:
        said["lfs"] = {"oid": entry.lfs_oid, "size": entry.size, "pointerSize": len(entry.pointer)}
    return said


def _folder(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode()).hexdigest()
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def _tree(hub: Hub, request: Request, kinds: str, name: str, rev: str, path: str = "") -> Answer:
    commit = _open(hub, request, kinds, name).resolve(rev)
    below = f"{path}/" if path else ""
    inside = {p: e for p, e in sorted(commit.tree.items()) if p.startswith(below)}
    if path and not inside:
        raise HubRefusal(404, f"{path} does not exist on {rev}", "EntryNotFound")
    recursive = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    entries: dict[str, dict[str, Any]] = {}
    for found, entry in inside.items():
        parts = found.removeprefix(below).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            folder = below + "/".join(parts[:depth])
            entries.setdefault(folder, _folder(folder))
        if recursive or len(parts) == 1:
            entries[found] = _described(found, entry)
    rows = list(entries.values())
    start = int(request.query.get("cursor", ["0"])[0])
    answer = ok(rows[start : start + hub.page_size])
    if start + hub.page_size < len(rows):
        glue = "&recursive=true" if recursive else ""
        following = f"{request.endpoint}{request.path}?cursor={start + hub.page_size}{glue}"
        answer.headers["Link"] = f'<{following}>; rel="next"'
    return answer


def _paths_info(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    tree = _open(hub, request, kinds, name).resolve(rev).tree
    asked = parse_qs(request.body.decode()).get("paths", [])
    said = [_described(path, tree[path]) for path in asked if path in tree]
    said += [
        _folder(path)
        for path in asked
        if path not in tree and any(p.startswith(path.rstrip("/") + "/") for p in tree)
    ]
    return ok(said)


def _commits(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    repo = _open(hub, request, kinds, name)

    def said(one: Commit) -> dict[str, Any]:
        return {
            "id": one.sha,
            "title": one.title,
            "message": "",
            "authors": [],
            "date": "2026-01-01T00:00:00.000Z",
        }

    return ok([said(one) for one in repo.history()])


def _preupload(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    tree = _open(hub, request, kinds, name, write=True).resolve(rev).tree
    said = []
    for file in request.json["files"]:
        path = file["path"]
        large = path.endswith(LFS_SUFFIXES) or file["size"] > 10_000_000
        old = tree.get(path)
        said.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": None if old is None else old.lfs_oid or old.blob_oid,
            }
        )
    return ok({"files": said})


def _commit(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    repo = _open(hub, request, kinds, name, write=True)
    lines = [json.loads(line) for line in request.body.splitlines() if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    operations = [(line["key"], line["value"]) for line in lines if line["key"] != "header"]
    for key, value in operations:
        if key == "lfsFile" and value["oid"] not in repo.objects and value["oid"] in hub.xet_hashes:
            _fetch_from_xet(hub, repo, value["oid"], value["size"])
    made = repo.commit(rev, header["summary"], operations, header.get("parentCommit"))
    folder = "" if repo.kind == "model" else f"{repo.kind}s/"
    return ok(
        {
            "success": True,
            "commitOid": made.sha,
            "hookOutput": "",
            "commitUrl": f"{hub.endpoint}/{folder}{name}/commit/{made.sha}",
        }
    )


def _tag(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    _open(hub, request, kinds, name, write=True).tag(request.json["tag"], rev)
    return ok({})


def _branch(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    repo = _open(hub, request, kinds, name, write=True)
    if rev in repo.branches:
        raise HubRefusal(409, f"Reference already exists: {rev}")
    repo.branches[rev] = repo.resolve(request.json.get("startingPoint", "main")).sha
    return ok({})


def _xet_token(hub: Hub, request: Request, kinds: str, name: str, rev: str) -> Answer:
    """Where the chunks go; the real client knows a folder by this scheme."""
    _open(hub, request, kinds, name, write=True)
    if hub.xet_store is None:
        return error(404, "This server has no Xet storage")
    url, until = f"local://{hub.xet_store}", 4_000_000_000
    return ok(
        {"casUrl": url, "exp": until, "accessToken": "xet"},
        **{"X-Xet-Cas-Url": url, "X-Xet-Token-Expiration": str(until), "X-Xet-Access-Token": "xet"},
    )


def _fetch_from_xet(hub: Hub, repo: Repo, oid: str, size: int) -> None:
    """Put a file together from the chunks a client has stored, as the Hub does for a commit."""
    import hf_xet

    assert hub.xet_store is not None
    target = hub.xet_store.with_name(f"fetched-{oid[:16]}")
    session = hf_xet.XetSession()
    with session.new_file_download_group(
        endpoint=f"local://{hub.xet_store}", token="xet", token_expiry_unix_secs=4_000_000_000
    ) as group:
        group.start_download_file(hf_xet.XetFileInfo(hub.xet_hashes[oid], size), str(target))
    data = target.read_bytes()
    if hashlib.sha256(data).hexdigest() == oid:
        repo.objects[oid] = data


def _batch(hub: Hub, request: Request, name: str, kinds: str | None = None) -> Answer:
    repo = _open(hub, request, kinds, name, write=True)
    base = f"{hub.endpoint}/_lfs/{kinds or 'models'}/{name}"
    said = []
    for asked in request.json["objects"]:
        one = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in repo.objects:
            one["actions"] = {
                "upload": {"href": f"{base}/{asked['oid']}"},
                "verify": {"href": f"{base}/verify"},
            }
        said.append(one)
    return ok({"transfer": "basic", "objects": said})


def _put(hub: Hub, request: Request, kinds: str, name: str, oid: str) -> Answer:
    repo = hub.repos[KINDS[kinds], name]
    data = request.body
    if request.fault in ("corrupt", "rotten"):
        middle = len(data) // 2
        data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    hub.rejected.discard(oid)
    if request.fault == "rotten":
        repo.objects[oid] = data  # nobody notices
    elif request.fault != "lost":
        if hashlib.sha256(data).hexdigest() == oid:
            repo.objects[oid] = data
        else:
            hub.rejected.add(oid)
    return Answer(200)


def _verify(hub: Hub, request: Request, kinds: str, name: str) -> Answer:
    _open(hub, request, kinds, name, write=True)
    if request.json["oid"] in hub.rejected:
        raise HubRefusal(400, "The object does not have the announced SHA-256.")
    return ok({})


def _resolve(
    hub: Hub, request: Request, name: str, rev: str, path: str, kinds: str | None = None
) -> Answer:
    repo = _open(hub, request, kinds, name)
    commit = repo.resolve(rev)
    if path not in commit.tree:
        answer = error(404, "Entry not found", "EntryNotFound")
        answer.headers["X-Repo-Commit"] = commit.sha
        return answer
    entry = commit.tree[path]
    data = repo.content(entry)
    headers = {
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{entry.lfs_oid or entry.blob_oid}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if entry.lfs_oid is not None:
        headers |= {"X-Linked-ETag": f'"{entry.lfs_oid}"', "X-Linked-Size": str(entry.size)}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
    if asked:
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if first >= len(data):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Answer(206, data[first : last + 1], headers)
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(data))
        return Answer(200, b"", headers)
    return Answer(200, data, headers)
