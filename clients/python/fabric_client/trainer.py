"""A site's trainer: write one function, the site runs it.

    from fabric_client import trainer

    def train(weights, data, round):
        ...                                  # change weights, on data.x and data.y
        return weights, len(data.x), None

    if __name__ == "__main__":
        trainer.main(train)

`weights` are the trainable tensors that the round starts from, float64, yours
to change. `train` returns the weights after training, how many rows they stand
for, and the measurement of the weights that the round *started* from on the
held-out rows, or None to have that measured here. What leaves the site is the
difference of the weights and four integers; with secure aggregation it is
masked by the agent before it leaves.

The site starts the file with ``fabric-site run --exec``; the contract of the
folder is in docs/protocol/site.md. To try a trainer without a fabric:

    python3 train.py --rehearse rows.csv --rounds 5
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import weights as form
from .weights import Weights

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class TrainerError(Exception):
    """What a trainer returned cannot be an answer. Nothing is sent."""


@dataclasses.dataclass(frozen=True)
class Round:
    """What the signed order says of this round."""

    run: str
    number: int
    tenant: str
    site: str
    inputs: int
    hidden: int
    classes: int
    epochs: int
    batch_size: int
    learning_rate: float
    proximal_mu: float
    """Above 0 in a run with FedProx, which holds a site near where it started."""
    seed: int
    """Follows from run, round and site: the same order gives the same numbers."""

    def random(self) -> np.random.Generator:
        """A generator that starts from the seed: a repeated round repeats itself."""
        return np.random.default_rng(self.seed)


@dataclasses.dataclass(frozen=True)
class Data:
    """The site's rows. `x` and `test_x` are standardised by the model's own
    mean and scale, which come from the `bounds` of the run: without them they
    are 0 and 1, and `x` is `raw`. `raw` and `test_raw` are as in the site's file.
    Runtimes standardise by the same mean and scale, so a trainer that scales
    rows by itself makes a model that nobody can serve."""

    x: Floats
    y: Labels
    test_x: Floats
    test_y: Labels
    raw: Floats
    test_raw: Floats
    columns: tuple[str, ...]

    def batches(self, round: Round) -> Iterator[npt.NDArray[np.intp]]:
        """Yields the indexes of mini-batches: every epoch another order."""
        draws = round.random()
        for _ in range(round.epochs):
            order = draws.permutation(len(self.x))
            for at in range(0, len(order), round.batch_size):
                yield order[at : at + round.batch_size]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Weights on held-out rows: how many, how many right, summed cross-entropy in nats."""

    evaluated: int
    correct: int
    loss: float


Metrics = Measured | Mapping[str, float] | None
Train = Callable[[Weights, Data, Round], tuple[Weights, int, Metrics]]


def logits(weights: Weights, x: Floats) -> Floats:
    """Scores of standardised rows, by the model that runtimes serve: linear, or
    one hidden layer of ReLU units."""
    if "linear.weight" in weights:
        return x @ weights["linear.weight"] + weights["linear.bias"]
    hidden = np.maximum(x @ weights["hidden.weight"] + weights["hidden.bias"], 0.0)
    return hidden @ weights["output.weight"] + weights["output.bias"]


def log_softmax(scores: Floats) -> Floats:
    """Logarithms of the probabilities, without overflow."""
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def measure(weights: Weights, x: Floats, y: Labels) -> Measured:
    """Measures weights on standardised rows."""
    if len(x) == 0:
        return Measured(0, 0, 0.0)
    scores = log_softmax(logits(weights, x))
    return Measured(len(x), int((scores.argmax(axis=1) == y).sum()), float(-scores[np.arange(len(y)), y].sum()))


def main(train: Train, arguments: list[str] | None = None) -> None:
    """Answers the round that the site has laid out, or rehearses.

    A failure is an exception, so that the site sees an exit status that is not
    0, sends nothing, and keeps what was printed in its own output.log.
    """
    if "SM_MODEL_DIR" in os.environ:
        run(train, os.environ)
        return
    parser = argparse.ArgumentParser(description="A trainer of a fabric's site. fabric-site run --exec starts it; alone it rehearses.")
    parser.add_argument("--rehearse", metavar="FILE", required=True, help="rows as a site has them: CSV, the last column is label")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    said = parser.parse_args(arguments)
    seen = rehearse(train, said.rehearse, rounds=said.rounds, epochs=said.epochs, batch_size=said.batch_size, learning_rate=said.learning_rate)
    for number, measured in enumerate(seen):
        print(f"after round {number}: {measured.correct} of {measured.evaluated} held-out rows right, loss {measured.loss / max(measured.evaluated, 1):.4f}")


def run(train: Train, environ: Mapping[str, str]) -> None:
    """Answers one round: reads the folder, trains, writes update and metrics."""
    round = _round(json.loads(environ["SM_HPS"]))
    base = form.read(pathlib.Path(environ["SM_CHANNEL_MODEL"]) / "weights.safetensors")
    columns, rows, labels = _table(pathlib.Path(environ["SM_CHANNEL_TRAINING"]) / "training.csv")
    _, held, held_labels = _table(pathlib.Path(environ["SM_CHANNEL_TEST"]) / "test.csv")
    mean, scale = base["normalise.mean"], base["normalise.scale"]
    data = Data((rows - mean) / scale, labels, (held - mean) / scale, held_labels, rows, held, columns)

    update, answer = step(train, _trainable(base), data, round)
    form.write(pathlib.Path(environ["SM_MODEL_DIR"]) / "update.safetensors", update)
    with open(pathlib.Path(environ["SM_OUTPUT_DATA_DIR"]) / "metrics.json", "w") as file:
        json.dump(answer, file)


def step(train: Train, start: Weights, data: Data, round: Round) -> tuple[Weights, dict[str, int]]:
    """Calls `train` and checks what it returns. Raises `TrainerError`."""
    returned = train({name: tensor.copy() for name, tensor in start.items()}, data, round)
    if not isinstance(returned, tuple) or len(returned) != 3:
        raise TrainerError("train returns (weights, rows, metrics)")
    after, examples, metrics = returned
    if set(after) != set(start):
        raise TrainerError(f"train returns the tensors {sorted(start)}, not {sorted(after)}")
    update: Weights = {}
    for name, tensor in start.items():
        now = np.asarray(after[name], np.float64)
        if now.shape != tensor.shape:
            raise TrainerError(f"{name} has shape {now.shape}, not {tensor.shape}")
        if not np.isfinite(now).all():
            raise TrainerError(f"{name} holds a NaN or an infinity: the learning rate may be too large")
        update[name] = now - tensor
    if not 1 <= int(examples) <= len(data.x):
        raise TrainerError(f"the update stands for {examples} rows of {len(data.x)}")
    return update, {"examples": int(examples), **_counts(metrics, start, data)}


def _counts(metrics: Metrics, start: Weights, data: Data) -> dict[str, int]:
    if metrics is None:
        metrics = measure(start, data.test_x, data.test_y)
    if not isinstance(metrics, Measured):
        missing = {"evaluated", "correct", "loss"} - set(metrics)
        if missing:
            raise TrainerError(f"the metrics lack {sorted(missing)}")
        metrics = Measured(int(metrics["evaluated"]), int(metrics["correct"]), float(metrics["loss"]))
    if not 0 <= metrics.correct <= metrics.evaluated <= len(data.test_x) or not 0 <= metrics.loss < float("inf"):
        raise TrainerError("the metrics are not possible")
    return {"evaluated": metrics.evaluated, "correct": metrics.correct, "lossMicros": _nearest(metrics.loss * 1e6)}


def _nearest(value: float) -> int:
    """The nearest integer: `round` is something else here."""
    return int(np.rint(value))


def rehearse(
    train: Train,
    path: str | os.PathLike[str],
    *,
    rounds: int = 5,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float = 0.05,
    hidden: int = 0,
) -> list[Measured]:
    """Runs rounds of a site that is alone, without a fabric, on its own rows.

    Every fifth row is held out, as a site does. Returns the measurement before
    the first round and after each. With several sites a round averages their
    updates, so this shows that a trainer works, not how good the model will be.
    """
    columns, rows, labels = _table(pathlib.Path(path))
    held = np.arange(len(rows)) % 5 == 4
    mean, scale = rows[~held].mean(axis=0), rows[~held].std(axis=0)
    scale[scale == 0] = 1.0
    x = (rows - mean) / scale
    data = Data(x[~held], labels[~held], x[held], labels[held], rows[~held], rows[held], columns)
    classes = int(labels.max()) + 1
    weights = _initial(len(columns), hidden, max(classes, 2))
    seen = [measure(weights, data.test_x, data.test_y)]
    for number in range(1, rounds + 1):
        order = Round("rehearsal", number, "tenant", "site", len(columns), hidden, max(classes, 2), epochs, batch_size, learning_rate, 0.0, number)
        update, _ = step(train, weights, data, order)
        weights = {name: tensor + update[name] for name, tensor in weights.items()}
        seen.append(measure(weights, data.test_x, data.test_y))
    return seen


def _initial(inputs: int, hidden: int, classes: int) -> Weights:
    if hidden == 0:
        return {"linear.bias": np.zeros(classes), "linear.weight": np.zeros((inputs, classes))}
    draws = np.random.default_rng(0)
    return {
        "hidden.bias": np.zeros(hidden),
        "hidden.weight": draws.normal(0, (2 / inputs) ** 0.5, (inputs, hidden)),
        "output.bias": np.zeros(classes),
        "output.weight": draws.normal(0, (2 / hidden) ** 0.5, (hidden, classes)),
    }


def _round(hp: Mapping[str, Any]) -> Round:
    return Round(
        run=str(hp["run"]),
        number=int(hp["round"]),
        tenant=str(hp["tenant"]),
        site=str(hp["site"]),
        inputs=int(hp["inputs"]),
        hidden=int(hp["hidden"]),
        classes=int(hp["classes"]),
        epochs=int(hp["epochs"]),
        batch_size=int(hp["batch_size"]),
        learning_rate=float(hp["learning_rate"]),
        proximal_mu=float(hp["proximal_mu"]),
        seed=int(hp["seed"]),
    )


def _trainable(base: Weights) -> Weights:
    return {name: tensor for name, tensor in base.items() if not name.startswith("normalise.")}


def _table(path: pathlib.Path) -> tuple[tuple[str, ...], Floats, Labels]:
    """Reads rows in the form of docs/protocol/site.md; a header alone is no rows."""
    with open(path) as file:
        columns = file.readline().strip().split(",")
        if columns[-1] != "label":
            raise TrainerError(f"{path.name}: the last column is not label")
        lines = [line for line in file if line.strip()]
    rows = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, len(columns)))
    return tuple(columns[:-1]), rows[:, :-1], rows[:, -1].astype(np.int64)


if __name__ == "__main__":
    sys.exit("import this module from your trainer: from fabric_client import trainer")
