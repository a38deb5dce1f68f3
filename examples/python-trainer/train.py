#!/usr/bin/env python3
"""A trainer for `fabric-site run --exec`: softmax regression in numpy.

The folder contract is docs/protocol/site.md; this file is all that a site needs
beside python3 and numpy. Copy it and change `train`.
"""

import json
import os
import struct

import numpy as np

DTYPES = {"F32": "<f4", "F64": "<f8"}


def read_safetensors(path):
    """Returns {name: array}. The file is: u64 length, JSON header, raw data."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    return {
        name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], DTYPES[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
    }


def write_safetensors(path, tensors):
    """Writes F32 tensors in the fabric's form: by name, no white space, padded to 8."""
    header, data = {}, b""
    for name in sorted(tensors):
        raw = np.ascontiguousarray(tensors[name], "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read_rows(channel):
    """Returns standardised-to-be rows and class indexes of a channel's CSV file."""
    folder = os.environ["SM_CHANNEL_" + channel]
    (name,) = os.listdir(folder)
    with open(os.path.join(folder, name)) as f:
        rows = np.loadtxt(f, delimiter=",", skiprows=1, ndmin=2)
    return rows[:, :-1], rows[:, -1].astype(int)


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def train(weight, bias, x, y, epochs, batch, rate, mu, seed):
    draws, start = np.random.default_rng(seed), (weight, bias)
    for _ in range(epochs):
        order = draws.permutation(len(x))
        for at in range(0, len(x), batch):
            rows = order[at:at + batch]
            slope = np.exp(log_softmax(x[rows] @ weight + bias))
            slope[np.arange(len(rows)), y[rows]] -= 1
            slope /= len(rows)
            # mu is 0 but for a run with FedProx, which holds the site near where it started
            weight, bias = (weight - rate * (x[rows].T @ slope + mu * (weight - start[0])),
                            bias - rate * (slope.sum(axis=0) + mu * (bias - start[1])))
    return weight, bias


def main():
    hp = json.loads(os.environ["SM_HPS"])
    base = read_safetensors(os.path.join(os.environ["SM_CHANNEL_MODEL"], "weights.safetensors"))
    base = {name: tensor.astype(np.float64) for name, tensor in base.items()}
    x, y = read_rows("TRAINING")
    x = (x - base["normalise.mean"]) / base["normalise.scale"]

    weight, bias = train(base["linear.weight"], base["linear.bias"], x, y, int(hp["epochs"]), int(hp["batch_size"]),
                         float(hp["learning_rate"]), float(hp["proximal_mu"]), int(hp["seed"]))
    write_safetensors(os.path.join(os.environ["SM_MODEL_DIR"], "update.safetensors"), {
        "linear.weight": weight - base["linear.weight"],
        "linear.bias": bias - base["linear.bias"],
    })

    metrics = {"examples": len(x), "evaluated": 0, "correct": 0, "lossMicros": 0}
    test = os.path.join(os.environ["SM_CHANNEL_TEST"], "test.csv")
    if sum(1 for _ in open(test)) > 1:  # the weights that the round starts from, on rows that nobody trains on
        held, label = read_rows("TEST")
        scores = log_softmax((held - base["normalise.mean"]) / base["normalise.scale"] @ base["linear.weight"] + base["linear.bias"])
        metrics["evaluated"] = len(held)
        metrics["correct"] = int((scores.argmax(axis=1) == label).sum())
        metrics["lossMicros"] = int(round(-scores[np.arange(len(held)), label].sum() * 1e6))
    with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "metrics.json"), "w") as f:
        json.dump(metrics, f)


if __name__ == "__main__":
    main()
