"""One request and its answer, repeated where that is safe."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from .errors import AnswerError, ProblemError

MAX_ANSWER = 64 << 20
"""Largest JSON answer that is read into memory, in bytes."""

AGAIN = (429, 502, 503)
"""Statuses after which the same request is sent again."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is for one server: an answer that points elsewhere is an error."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Transport:
    """Sends requests to one gateway, with a token, and repeats them.

    A request is sent again, `retries` times at most, when the connection broke
    or the answer says that it is a matter of time. That is safe: reading
    changes nothing, and every command carries an Idempotency-Key, the same one
    each time, so that it is done once.
    """

    def __init__(self, server: str, token: str, timeout: float, retries: int, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urllib.parse.urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the server is an http or https URL")
        if "\n" in token or "\r" in token:
            raise ValueError("a token is one line")
        self.server = server.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._retries = retries
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirects)

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Returns an answer below 400, to be read and closed, or raises."""
        url = self.server + path
        said = {name: value for name, value in (query or {}).items() if value is not None}
        if said:
            url += "?" + urllib.parse.urlencode(said)
        sent = {"Accept": "*/*", **(headers or {})}
        if self._token:
            sent["Authorization"] = "Bearer " + self._token
        data = None
        if body is not None:
            data = json.dumps(body, allow_nan=False).encode()
            sent["Content-Type"] = "application/json"
        if method == "POST":
            sent["Idempotency-Key"] = key or str(uuid.uuid4())
        for left in range(self._retries, -1, -1):
            request = urllib.request.Request(url, data=data, headers=sent, method=method)
            try:
                return self._opener.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as answer:
                with answer:
                    problem = _problem(answer)
                if left == 0 or not _passing(problem):
                    raise problem from None
                self._sleep(_pause(self._retries - left, problem.retry_after))
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError):
                if left == 0:
                    raise
                self._sleep(_pause(self._retries - left, None))
        raise AssertionError("unreachable")

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Returns an answer that is a JSON object."""
        with self.open(method, path, **options) as answer:
            return _object(answer.read(MAX_ANSWER + 1), path)


def _object(text: bytes, path: str) -> dict[str, Any]:
    if len(text) > MAX_ANSWER:
        raise AnswerError(f"{path}: longer than {MAX_ANSWER} bytes")
    try:
        value = json.loads(text)
    except ValueError:
        raise AnswerError(f"{path}: not JSON") from None
    if not isinstance(value, dict):
        raise AnswerError(f"{path}: not an object")
    return value


def _problem(answer: urllib.error.HTTPError) -> ProblemError:
    """Reads a problem document. What is none is no answer of a fabric."""
    path = urllib.parse.urlsplit(answer.url).path
    try:
        document = _object(answer.read(MAX_ANSWER + 1), path)
    except AnswerError:
        document = {}
    if "code" not in document:
        raise AnswerError(f"{path}: status {answer.code} without a problem document")
    after = answer.headers.get("Retry-After", "")
    return ProblemError(document, float(after) if after.isdigit() else None)


def _passing(problem: ProblemError) -> bool:
    return problem.status in AGAIN or problem.code in ("idempotency_key_in_progress", "upload_in_progress")


def _pause(attempt: int, asked: float | None) -> float:
    """Seconds to wait: what the server asked for, or half a second doubled, with jitter."""
    if asked is not None:
        return min(asked, 60.0)
    return min(0.5 * 2**attempt, 30.0) * random.uniform(0.5, 1.0)
