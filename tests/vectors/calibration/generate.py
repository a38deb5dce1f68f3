#!/usr/bin/env python3
"""Writes sklearn.json: calibration curves and Brier scores of scikit-learn, and
the errors that their definitions make of right-closed bins.

scikit-learn's bins are closed on the left, but for the last. Scores that lie on
an edge are therefore left out of the samples, so that both agree.

Run:  /usr/bin/python3 generate.py > sklearn.json   (Debian's python3-sklearn)
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

random = np.random.default_rng(20265)


def errors(p, y, groups):
    share = np.array([len(g) / len(p) for g in groups])
    gap = np.array([abs(y[g].mean() - p[g].mean()) for g in groups])
    return {"ece": float(np.sum(share * gap)), "rmsce": float(np.sqrt(np.sum(share * gap**2))), "mce": float(gap.max())}


def case(n, power, bins=15):
    p = np.round(random.random(n) ** power, 6)
    p = np.where(np.abs(p * bins - np.round(p * bins)) < 1e-4, p + 3e-4 * np.where(p > 0.5, -1, 1), p).round(6)
    p = random.permutation(np.unique(p))  # ties would need a rule for bins of equal mass
    n = len(p)
    y = (random.random(n) < p**1.3).astype(int)
    y[:2] = [0, 1]
    rate, mean = calibration_curve(y, p, n_bins=bins, strategy="uniform")
    index = np.maximum(np.ceil(p * bins).astype(int), 1)
    width = errors(p, y, [np.flatnonzero(index == b) for b in range(1, bins + 1) if np.any(index == b)])
    mass = errors(p, y, [g for g in np.split(np.argsort(p, kind="stable"), [b * n // bins for b in range(1, bins)])])
    return {
        "scores": p.tolist(), "truth": y.tolist(), "brier": brier_score_loss(y, p),
        "curve": {"rate": rate.tolist(), "score": mean.tolist()}, "equalWidth": width, "equalMass": mass,
    }


json.dump({
    "source": f"generate.py with numpy {np.__version__} and scikit-learn {sklearn.__version__} of Debian 12",
    "bins": 15, "cases": [case(60, 1), case(300, 3), case(150, 0.3)],
}, sys.stdout, indent=1)
print()
