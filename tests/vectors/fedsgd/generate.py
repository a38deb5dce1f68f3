#!/usr/bin/env python3
"""Writes vectors.json: softmax regression on the tumour table after one full-batch gradient step.

Computed by numpy in float64, from the file and the split alone:

    x   = (row - mean) / sqrt(mean of squares - mean^2)     over the training rows
    W1  = 0 - rate * x^T (softmax(0) - onehot) / rows,  b1 the same without x

The training rows are the first 455 of splits.json of ../fedavg.

Run:  python3 generate.py > vectors.json   (numpy 1.24)
"""

import json
import pathlib
import sys

import numpy

here = pathlib.Path(__file__).resolve().parent
rows = numpy.loadtxt(here / "../../../examples/tumour/breast_cancer.csv", delimiter=",", skiprows=1)
split = json.loads((here / "../fedavg/splits.json").read_text())["tumour"]
rows = rows[split["order"][:split["train"]]]
x, y = rows[:, :-1], rows[:, -1].astype(int)
mean = x.mean(axis=0)
scale = x.std(axis=0)
x = (x - mean) / scale
rate = 0.5
error = numpy.full((len(x), 2), 0.5)
error[numpy.arange(len(x)), y] -= 1
json.dump({
    "source": "tests/vectors/fedsgd/generate.py, numpy in float64",
    "rate": rate,
    "weight": (-rate * x.T @ error / len(x)).ravel().tolist(),
    "bias": (-rate * error.mean(axis=0)).tolist(),
}, sys.stdout)
sys.stdout.write("\n")
