#!/usr/bin/env python3
"""Writes bootstrap.json: the percentiles of a bootstrap by group and truth.

Two groups: exactly, from the distributions of the strata (scipy.stats.binom),
every pair of outcomes with its probability; and what the normal approximation
says of the same differences (Wald). More groups: 2,000,000 draws of numpy's
multinomial over (TP, FN) and (FP, TN).

Run:  /usr/bin/python3 bootstrap.py > bootstrap.json   (Debian's python3-scipy)
"""

import json
import sys

import numpy as np
import scipy
from scipy.stats import binom

random = np.random.default_rng(20261123)
ENDS = (0.025, 0.975)


def outcomes(hits, n):
    k = np.arange(n + 1)
    return k, binom.pmf(k, n, hits / n)


def quantiles(values, weights):
    """Smallest value with at least that much weight up to it."""
    order = np.argsort(values, kind="stable")
    values, total = values[order], np.cumsum(weights[order])
    return [float(values[np.searchsorted(total, q * total[-1])]) for q in ENDS]


def selected(g):
    (i, p), (j, q) = outcomes(g["tp"], g["tp"] + g["fn"]), outcomes(g["fp"], g["fp"] + g["tn"])
    w = np.convolve(p, q)
    return np.arange(len(w)) / (g["tp"] + g["fn"] + g["fp"] + g["tn"]), w


def rate(g, hit, miss):
    k, p = outcomes(g[hit], g[hit] + g[miss])
    return k / (g[hit] + g[miss]), p


def difference(a, b):
    values = np.abs(a[0][:, None] - b[0][None, :]).ravel()
    return values, (a[1][:, None] * b[1][None, :]).ravel()


def greater(x, y):
    """Distribution of the greater of two independent values."""
    values = np.unique(np.concatenate([x[0], y[0]]))

    def up_to(d):
        order = np.argsort(d[0], kind="stable")
        total = np.concatenate([[0], np.cumsum(d[1][order])])
        return total[np.searchsorted(d[0][order], values, side="right")]

    cdf = up_to(x) * up_to(y)
    return values, np.diff(np.concatenate([[0], cdf]))


def wald(a, b):
    p, q = a["tp"] / (a["tp"] + a["fn"]), b["tp"] / (b["tp"] + b["fn"])
    se = np.sqrt(p * (1 - p) / (a["tp"] + a["fn"]) + q * (1 - q) / (b["tp"] + b["fn"]))
    return [abs(p - q) - 1.959963984540054 * se, abs(p - q) + 1.959963984540054 * se]


def exact(a, b):
    tpr = difference(rate(a, "tp", "fn"), rate(b, "tp", "fn"))
    fpr = difference(rate(a, "fp", "tn"), rate(b, "fp", "tn"))
    return {
        "groups": [a, b], "how": "exact",
        "parity": quantiles(*difference(selected(a), selected(b))),
        "opportunity": quantiles(*tpr), "odds": quantiles(*greater(tpr, fpr)), "wald": wald(a, b),
    }


def drawn(groups, draws=2_000_000):
    tpr, fpr, sel = [], [], []
    for g in groups:
        p, n = g["tp"] + g["fn"], g["fp"] + g["tn"]
        tp = random.multinomial(p, [g["tp"] / p, g["fn"] / p], size=draws)[:, 0]
        fp = random.multinomial(n, [g["fp"] / n, g["tn"] / n], size=draws)[:, 0]
        tpr.append(tp / p), fpr.append(fp / n), sel.append((tp + fp) / (p + n))
    tpr, fpr, sel = (np.ptp(np.stack(x), axis=0) for x in (tpr, fpr, sel))
    return {"groups": groups, "how": f"{draws} draws", **{
        name: [float(q) for q in np.quantile(x, ENDS)]
        for name, x in (("parity", sel), ("opportunity", tpr), ("odds", np.maximum(tpr, fpr)))
    }}


def group(name, tp, fn, fp, tn):
    return {"name": name, "tp": tp, "fn": fn, "fp": fp, "tn": tn}


json.dump({
    "source": f"bootstrap.py with numpy {np.__version__} and scipy {scipy.__version__} of Debian 12",
    "cases": [
        exact(group("a", 450, 50, 60, 440), group("b", 330, 170, 150, 350)),
        exact(group("a", 180, 20, 30, 170), group("b", 171, 29, 36, 164)),
        exact(group("a", 35, 5, 3, 37), group("b", 300, 100, 80, 320)),
        drawn([group("a", 4500, 500, 500, 4500), group("b", 400, 100, 45, 455), group("c", 33, 7, 12, 28)]),
        drawn([group(chr(ord("a") + i), 900 + i, 100 - i, 100 + i, 900 - i) for i in range(6)]),
    ],
}, sys.stdout, indent=1)
print()
