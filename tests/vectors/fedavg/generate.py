#!/usr/bin/env python3
"""Writes splits.json: the shuffled splits that the convergence figures were measured on.

The figures (softmax regression, FedAvg, five training seeds each) are from an
independent numpy program; "figures" repeats them beside the split. A split is
numpy.random.default_rng(1).permutation(rows): the first `train` places are
trained on, the others test.

Run:  python3 generate.py > splits.json   (numpy 1.24)
"""

import json
import sys

import numpy


def split(rows, train, **figures):
    order = numpy.random.default_rng(1).permutation(rows).tolist()
    return {"train": train, "order": order, "figures": figures}


json.dump({
    "source": "tests/vectors/fedavg/generate.py: numpy.random.default_rng(1).permutation",
    "tumour": split(569, 455, target=0.97, rounds=[5, 6], best=0.9737),
    "digits": split(1797, 1437, target=0.90, even_rounds=[5, 8], even_best=0.964, shards_rounds=[16, 24], shards_best=0.956),
}, sys.stdout)
sys.stdout.write("\n")
