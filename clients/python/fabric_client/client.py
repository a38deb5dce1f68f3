"""The calls that a data scientist makes: train, watch, look, fetch, ask."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from .errors import AnswerError, DigestError, RunFailed
from .transport import Transport
from .values import Invocation, Model, Run, RunAccepted, RunParams

ENDED = ("completed", "stopped", "failed")
"""Statuses after which a run does not change."""

MAX_MANIFEST = 1 << 20


@dataclasses.dataclass(frozen=True)
class Download:
    """A version on disk. Every digest was compared with the content."""

    model: str
    version: int
    package: str
    """Digest of the manifest: the name that signatures and approvals are about."""
    manifest: pathlib.Path
    weights: pathlib.Path
    weights_digest: str


class Client:
    """A caller of one fabric.

    `server` and `token` are taken from FABRIC_API_URL and FABRIC_TOKEN where
    they are not given. Without a token only a fabric in simulation on this
    machine answers, and its answers say ``"simulated": true``.

    Every method raises `ProblemError` when the fabric refuses, with a stable
    `code`; what may pass by itself was tried `retries` times before.
    """

    def __init__(self, server: str | None = None, token: str | None = None, *, timeout: float = 30.0, retries: int = 4) -> None:
        server = server or os.environ.get("FABRIC_API_URL") or "http://127.0.0.1:9000"
        token = os.environ.get("FABRIC_TOKEN", "") if token is None else token
        self._wire = Transport(server, token.strip(), timeout, retries)

    # Runs

    def start(
        self,
        model: str,
        tenants: Sequence[str],
        params: RunParams | Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> RunAccepted:
        """Starts a training run of `model` on the rows of `tenants`.

        Give a `key` of your own where the caller itself may be started twice:
        the same key and the same request start one run, however often.
        """
        body = {"model_id": model, "tenants": list(tenants), "params": dict(params or {})}
        return cast(RunAccepted, self._wire.json("POST", "/train/round", body=body, key=key))

    def run(self, run: str, *, tenant: str | None = None) -> Run:
        """Returns a run with its rounds."""
        return cast(Run, self._wire.json("GET", "/train/status/" + _segment(run), query={"tenant": tenant}))

    def runs(self, *, tenant: str | None = None) -> Iterator[Run]:
        """Yields the tenant's runs without their rounds, the newest first."""
        return cast("Iterator[Run]", self._pages("/train/runs", tenant))

    def watch(self, run: str, *, tenant: str | None = None, poll: float = 1.0, timeout: float | None = None) -> Iterator[Run]:
        """Yields a run each time that it has changed, and ends when it has.

        Raises TimeoutError when `timeout` seconds are over before that. The run
        goes on: it is the fabric's, not the watcher's.
        """
        until = None if timeout is None else time.monotonic() + timeout
        seen = None
        while True:
            now = self.run(run, tenant=tenant)
            if now != seen:
                yield now
                seen = now
            if now["status"] in ENDED:
                return
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"run {run} is {now['status']} after {timeout} s; it goes on")
            time.sleep(poll)

    def wait(self, run: str, *, tenant: str | None = None, poll: float = 1.0, timeout: float | None = None) -> Run:
        """Returns a run that has completed. Raises `RunFailed` if it ended otherwise."""
        last: Run | None = None
        for last in self.watch(run, tenant=tenant, poll=poll, timeout=timeout):
            pass
        assert last is not None
        if last["status"] != "completed":
            raise RunFailed(cast("dict[str, Any]", last))
        return last

    def stop(self, run: str) -> None:
        """Ends a run after its open round."""
        self._wire.json("POST", f"/train/runs/{_segment(run)}/stop")

    # Models

    def models(self, *, tenant: str | None = None) -> Iterator[Model]:
        """Yields the tenant's models without their versions, by id."""
        return cast("Iterator[Model]", self._pages("/models", tenant))

    def model(self, model: str, *, tenant: str | None = None) -> Model:
        """Returns a model with its versions, the newest first."""
        return cast(Model, self._wire.json("GET", "/models/" + _segment(model), query={"tenant": tenant}))

    def download(
        self,
        model: str,
        folder: str | os.PathLike[str],
        *,
        version: int | None = None,
        alias: str | None = None,
        environment: str | None = None,
        package: str | None = None,
        tenant: str | None = None,
    ) -> Download:
        """Fetches a version's manifest and weights into `folder`.

        What is written has the digests that the manifest names; a transfer that
        breaks goes on where it was cut. The digests show that nothing was
        changed on the way, not who made it: give `package`, the digest that
        ``fabric model verify`` printed or that was approved, and nothing else
        is accepted, whatever the server says.
        """
        query = {"version": version, "alias": alias, "environment": environment, "tenant": tenant}
        path = f"/models/{_segment(model)}/download"
        with self._wire.open("GET", path, query={**query, "part": "manifest"}) as answer:
            number = int(answer.headers.get("X-Model-Version") or 0)
            text = answer.read(MAX_MANIFEST + 1)
        if number < 1 or len(text) > MAX_MANIFEST:
            raise AnswerError(f"{path}: no manifest of a version")
        found = "sha256:" + hashlib.sha256(text).hexdigest()
        wanted = package or self._package(model, number, tenant)
        if found != wanted:
            raise DigestError(f"the manifest of {model} version {number} is {found}, not {wanted}")
        layer = _weights_of(text, path)

        into = pathlib.Path(folder)
        into.mkdir(parents=True, exist_ok=True)
        weights = into / "weights.safetensors"
        self._fetch(path, {"version": number, "tenant": tenant, "part": "weights"}, weights, layer["digest"], int(layer["size"]))
        manifest = into / "manifest.json"
        manifest.write_bytes(text)
        return Download(model, number, found, manifest, weights, layer["digest"])

    def _package(self, model: str, version: int, tenant: str | None) -> str:
        for known in self.model(model, tenant=tenant).get("versions", []):
            if known["version"] == version:
                return known["package"]["digest"]
        raise AnswerError(f"model {model} has no version {version}")

    def _fetch(self, path: str, query: Mapping[str, Any], target: pathlib.Path, digest: str, size: int) -> None:
        """Writes content beside `target`, which appears once it is whole and right."""
        part = target.with_name(target.name + ".part")
        hashed = hashlib.sha256()
        with open(part, "wb") as file:
            for _ in range(100):
                at = file.tell()
                headers = {"Range": f"bytes={at}-"} if at else {}
                try:
                    with self._wire.open("GET", path, query=query, headers=headers) as answer:
                        if at and answer.status != 206:
                            raise AnswerError(f"{path}: no range of what was begun")
                        while block := answer.read(1 << 20):
                            hashed.update(block)
                            file.write(block)
                            if file.tell() > size:
                                raise DigestError(f"{path}: longer than the manifest says")
                except (http.client.IncompleteRead, ConnectionError, TimeoutError):
                    pass
                if file.tell() == size or file.tell() == at:
                    break
        if "sha256:" + hashed.hexdigest() != digest:
            part.unlink()
            raise DigestError(f"{path}: the content is not {digest}")
        part.replace(target)

    # Answers

    def invoke(self, tenant: str, model: str, rows: Sequence[Sequence[float]], preferences: Mapping[str, Any] | None = None) -> Invocation:
        """Asks the version of `model` that the router serves about rows."""
        body: dict[str, Any] = {"tenant": tenant, "model_id": model, "input": {"data": [list(map(float, row)) for row in rows]}}
        if preferences:
            body["preferences"] = dict(preferences)
        return cast(Invocation, self._wire.json("POST", "/invoke", body=body))

    # Anything else

    def call(self, method: str, path: str, body: Any = None, *, query: Mapping[str, Any] | None = None, key: str | None = None) -> dict[str, Any]:
        """Calls any other operation of docs/reference/api.md that answers JSON."""
        return self._wire.json(method, path, body=body, query=query, key=key)

    def _pages(self, path: str, tenant: str | None) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._wire.json("GET", path, query={"tenant": tenant, "cursor": cursor})
            yield from page["items"]
            cursor = page.get("next")
            if not cursor:
                return


def _segment(name: str) -> str:
    """A name as one segment of a path, whatever it holds."""
    if name in ("", ".", ".."):
        raise ValueError("a name is missing")
    return urllib.parse.quote(name, safe="")


def _weights_of(manifest: bytes, path: str) -> dict[str, Any]:
    """Returns the weights' descriptor of an OCI manifest."""
    try:
        layers = json.loads(manifest)["layers"]
        (layer,) = [one for one in layers if one["mediaType"] == "application/vnd.cncf.model.weight.v1.safetensors"]
        return {"digest": str(layer["digest"]), "size": int(layer["size"])}
    except (ValueError, KeyError, TypeError):
        raise AnswerError(f"{path}: a manifest without weights") from None
