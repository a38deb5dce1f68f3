#!/usr/bin/env python3
"""Writes sklearn.json: group rates from scikit-learn's confusion matrices and
recalls, and what their definitions make of them.

Run:  /usr/bin/python3 generate.py > sklearn.json   (Debian's python3-sklearn)
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.metrics import confusion_matrix, recall_score

random = np.random.default_rng(20264)


def case(sizes, error):
    truth, predicted, names = [], [], []
    for name, n in sizes.items():
        y = random.integers(0, 2, n)
        y[:2] = [0, 1]
        wrong = random.random(n) < error[name]
        truth += y.tolist()
        predicted += np.where(wrong, 1 - y, y).tolist()
        names += [name] * n
    y, p, g = np.array(truth), np.array(predicted), np.array(names)
    rates, groups = {"selection": [], "sensitivity": [], "falseAlarm": []}, []
    for name in sizes:
        here = g == name
        tn, fp, fn, tp = (int(v) for v in confusion_matrix(y[here], p[here], labels=[0, 1]).ravel())
        groups.append({"name": name, "tp": tp, "fp": fp, "tn": tn, "fn": fn})
        rates["selection"].append(float(p[here].mean()))
        rates["sensitivity"].append(recall_score(y[here], p[here]))
        rates["falseAlarm"].append(1 - recall_score(y[here], p[here], pos_label=0))
    sel, tpr, fpr = (np.array(rates[k]) for k in ("selection", "sensitivity", "falseAlarm"))
    b = 1 + p - y
    r = b / b.mean()
    return {
        "groups": groups, "rates": rates,
        "demographicParityDifference": sel.max() - sel.min(), "demographicParityRatio": sel.min() / sel.max(),
        "equalizedOddsDifference": max(np.ptp(tpr), np.ptp(fpr)),
        "equalizedOddsRatio": min(tpr.min() / tpr.max(), fpr.min() / fpr.max()),
        "equalOpportunityDifference": np.ptp(tpr),
        "generalizedEntropy": float(np.mean((r**2 - 1) / 2)),
        "theil": float(np.mean(np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0))),
    }


json.dump({
    "source": f"generate.py with numpy {np.__version__} and scikit-learn {sklearn.__version__} of Debian 12",
    "cases": [
        case({"a": 400, "b": 90, "c": 35}, {"a": 0.1, "b": 0.15, "c": 0.4}),
        case({"a": 60, "b": 2000}, {"a": 0.3, "b": 0.29}),
        case({"a": 20, "b": 20, "c": 20, "d": 20}, {"a": 0.5, "b": 0.2, "c": 0.3, "d": 0.6}),
    ],
}, sys.stdout, indent=1)
print()
