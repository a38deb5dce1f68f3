"""The client against a server that answers, refuses, breaks off and lies."""

import hashlib
import http.server
import json
import pathlib
import tempfile
import threading
import unittest
from typing import Any

from fabric_client import AnswerError, Client, DigestError, ProblemError, RunFailed
from fabric_client.transport import Transport

WEIGHTS = bytes(range(256)) * 40


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


MANIFEST = json.dumps({"layers": [{"mediaType": "application/vnd.cncf.model.weight.v1.safetensors", "digest": digest(WEIGHTS), "size": len(WEIGHTS)}]}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Plays a script: what is asked is noted, what is answered is given."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        fabric: Any = self.server
        fabric.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, headers, body, cut = fabric.script(self.command, self.path, self.headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut] if cut else body)
        if cut:
            self.close_connection = True

    do_GET = do_POST = answer

    def log_message(self, *_: Any) -> None:
        pass


def problem(status: int, code: str, **headers: str) -> tuple[int, dict[str, str], bytes, int]:
    document = {"type": "x#" + code, "title": "T", "status": status, "code": code, "detail": "D", "instance": "abc", "errors": [{"pointer": "/a", "detail": "bad"}]}
    return status, {"Content-Type": "application/problem+json", **headers}, json.dumps(document).encode(), 0


def good(value: Any, **headers: str) -> tuple[int, dict[str, str], bytes, int]:
    return 200, headers, value if isinstance(value, bytes) else json.dumps(value).encode(), 0


class TestClient(unittest.TestCase):
    def setUp(self) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.slept: list[float] = []
        self.client = Client(f"http://127.0.0.1:{self.server.server_address[1]}", "secret-token", timeout=5)
        self.client._wire._sleep = self.slept.append

    def play(self, *answers: Any) -> list[Any]:
        """Gives one answer after the other, the last one again and again."""
        left = list(answers)

        def script(command: str, path: str, headers: Any) -> Any:
            answer = left.pop(0) if len(left) > 1 else left[0]
            return answer(path, headers) if callable(answer) else answer

        self.server.script = script  # type: ignore[attr-defined]
        return self.server.seen  # type: ignore[attr-defined]

    def test_a_run_is_started_once_however_often_it_is_sent(self) -> None:
        seen = self.play(problem(503, "unavailable", **{"Retry-After": "2"}), problem(409, "idempotency_key_in_progress"), good({"id": "run-1"}))
        self.assertEqual("run-1", self.client.start("m", ["t"], {"rounds": 2})["id"])
        self.assertEqual(3, len(seen))
        self.assertEqual(1, len({headers["Idempotency-Key"] for _, _, headers, _ in seen}))
        self.assertEqual({"model_id": "m", "tenants": ["t"], "params": {"rounds": 2}}, json.loads(seen[0][3]))
        self.assertEqual("Bearer secret-token", seen[0][2]["Authorization"])
        self.assertEqual(2.0, self.slept[0])

    def test_a_refusal_says_why_and_is_not_repeated(self) -> None:
        seen = self.play(problem(422, "no_consent"))
        with self.assertRaises(ProblemError) as caught:
            self.client.start("m", ["t"])
        self.assertEqual((422, "no_consent", "abc"), (caught.exception.status, caught.exception.code, caught.exception.trace))
        self.assertIn("/a: bad", str(caught.exception))
        self.assertEqual(1, len(seen))

    def test_what_never_passes_is_given_up(self) -> None:
        seen = self.play(problem(503, "unavailable"))
        with self.assertRaises(ProblemError):
            self.client.run("run-1")
        self.assertEqual(5, len(seen))

    def test_a_token_goes_to_no_other_server(self) -> None:
        seen = self.play((307, {"Location": "http://127.0.0.1:1/"}, b"", 0))
        with self.assertRaises(AnswerError):
            self.client.run("run-1")
        self.assertEqual(1, len(seen))

    def test_a_run_is_watched_to_its_end(self) -> None:
        states = [{"id": "r", "status": s} for s in ("accepted", "running", "running", "completed")]
        self.play(*[good(s) for s in states])
        self.assertEqual(["accepted", "running", "completed"], [run["status"] for run in self.client.watch("r", poll=0.001)])
        self.play(good({"id": "r", "status": "failed", "cause": "too few sites"}))
        with self.assertRaisesRegex(RunFailed, "too few sites"):
            self.client.wait("r", poll=0.001)
        self.play(good({"id": "r", "status": "running"}))
        with self.assertRaises(TimeoutError):
            self.client.wait("r", poll=0.001, timeout=0.02)

    def test_pages_are_followed(self) -> None:
        seen = self.play(good({"items": [{"id": "a"}], "next": "c1"}), good({"items": [{"id": "b"}]}))
        self.assertEqual(["a", "b"], [model["id"] for model in self.client.models(tenant="t")])
        self.assertEqual("/models?tenant=t&cursor=c1", seen[1][1])

    def test_a_name_stays_one_segment(self) -> None:
        seen = self.play(good({}))
        self.client.model("../audit/leaves?x=#")
        self.assertEqual("/models/..%2Faudit%2Fleaves%3Fx%3D%23", seen[0][1])

    def test_what_is_no_answer_of_a_fabric(self) -> None:
        for answer in [good(b"<html>"), good([1]), (500, {}, b"<html>", 0)]:
            self.play(answer)
            with self.assertRaises(AnswerError):
                self.client.model("m")
        with self.assertRaises(ValueError):
            self.client.invoke("t", "m", [[float("nan")]])
        with self.assertRaises(ValueError):
            Transport("file:///etc/passwd", "", 1, 0)

    def test_rows_are_asked_about(self) -> None:
        seen = self.play(good({"tenant": "t", "model_id": "m", "output": {}, "decision": {}}))
        self.client.invoke("t", "m", [[1, 2]], {"region": "eu"})
        self.assertEqual({"tenant": "t", "model_id": "m", "input": {"data": [[1.0, 2.0]]}, "preferences": {"region": "eu"}}, json.loads(seen[0][3]))

    def served(self, content: bytes = WEIGHTS, manifest: bytes = MANIFEST, package: str | None = None, cut: int = 0) -> Any:
        """A server of one version, which breaks the first transfer of weights after `cut` bytes."""
        breaks = [cut] if cut else []

        def script(path: str, headers: Any) -> Any:
            if "part=manifest" in path:
                return good(manifest, **{"X-Model-Version": "3"})
            if "part=weights" not in path:
                return good({"id": "m", "versions": [{"version": 3, "package": {"digest": package or digest(manifest)}}]})
            begin = int(headers.get("Range", "bytes=0-")[6:-1])
            return 206 if begin else 200, {}, content[begin:], breaks.pop() if breaks else 0

        return script

    def download(self, **options: Any) -> Any:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        return self.client.download("m", self.folder, **options)

    def test_a_download_has_its_digest(self) -> None:
        self.play(self.served())
        got = self.download(alias="champion")
        self.assertEqual((3, digest(MANIFEST), digest(WEIGHTS)), (got.version, got.package, got.weights_digest))
        self.assertEqual(WEIGHTS, got.weights.read_bytes())
        self.assertEqual(["manifest.json", "weights.safetensors"], sorted(p.name for p in self.folder.iterdir()))

    def test_a_download_goes_on_where_it_was_cut(self) -> None:
        seen = self.play(self.served(cut=1000))
        self.assertEqual(WEIGHTS, self.download().weights.read_bytes())
        self.assertEqual("bytes=1000-", seen[-1][2]["Range"])

    def test_other_content_is_not_kept(self) -> None:
        for name, script in {
            "one changed byte": self.served(content=b"x" + WEIGHTS[1:]),
            "more than was said": self.served(content=WEIGHTS + b"x"),
            "less than was said": self.served(content=WEIGHTS[:-1]),
            "another manifest": self.served(package="sha256:" + "0" * 64),
        }.items():
            with self.subTest(name), self.assertRaises(DigestError):
                self.play(script)
                self.download()
            self.assertFalse((self.folder / "weights.safetensors").exists())

    def test_a_pinned_package_is_all_that_is_accepted(self) -> None:
        self.play(self.served())
        self.assertEqual(3, self.download(package=digest(MANIFEST)).version)
        with self.assertRaises(DigestError):
            self.download(package="sha256:" + "1" * 64)


if __name__ == "__main__":
    unittest.main()
