"""What can go wrong, each with a type of its own."""

from __future__ import annotations

from typing import Any


class FabricError(Exception):
    """Everything that this package raises by itself."""


class AnswerError(FabricError):
    """An answer that is not what the contract promises."""


class DigestError(FabricError):
    """Content that is not what its SHA-256 digest says. It is not kept."""


class ProblemError(FabricError):
    """An RFC 9457 problem document. `code` is stable, see docs/errors.md."""

    def __init__(self, document: dict[str, Any], retry_after: float | None = None) -> None:
        self.document = document
        self.status: int = int(document.get("status", 0))
        self.code: str = str(document["code"])
        self.title: str = str(document.get("title", ""))
        self.detail: str = str(document.get("detail", ""))
        self.trace: str = str(document.get("instance", ""))
        self.errors: list[dict[str, str]] = list(document.get("errors") or [])
        self.retry_after = retry_after
        text = f"{self.title}: {self.detail}" if self.detail else self.title
        for item in self.errors:
            text += f"\n  {item.get('pointer', '')}: {item.get('detail', '')}"
        super().__init__(f"{text} ({self.code}, trace {self.trace})")


class RunFailed(FabricError):
    """A run that ended and has no model: it failed or was stopped."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.run = run
        super().__init__(f"run {run['id']} {run['status']}: {run.get('cause', 'no cause was given')}")
