"""Client of a fabric's HTTP API, and what a site's trainer in Python needs.

`fabric_client.Client` uses the standard library alone. `fabric_client.trainer`
and `fabric_client.weights` use numpy as well, so import them where they are
needed: ``from fabric_client import trainer``.
"""

from .client import Client, Download
from .errors import AnswerError, DigestError, FabricError, ProblemError, RunFailed
from .values import Invocation, Model, ModelVersion, Run

__all__ = [
    "AnswerError",
    "Client",
    "DigestError",
    "Download",
    "FabricError",
    "Invocation",
    "Model",
    "ModelVersion",
    "ProblemError",
    "Run",
    "RunFailed",
]
