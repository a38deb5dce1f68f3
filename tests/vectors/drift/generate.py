#!/usr/bin/env python3
"""Writes streams.json and scipy.json beside this file.

streams.json: the streams that river's tests and doctests run its detectors on,
one digit an item, made as those tests make them, with the items at which they
say that there is drift. Only numbers are taken from river.

scipy.json: distances between samples and between shares as SciPy computes them.

Run:  /usr/bin/python3 generate.py   (Debian's python3-numpy, python3-scipy)
"""

import hashlib
import json
import os
import random

import numpy as np
import scipy
from scipy import spatial, stats

HERE = os.path.dirname(os.path.abspath(__file__))


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def digits(values):
    text = "".join(str(int(v)) for v in values)
    return {"items": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def streams():
    rng = random.Random(12345)
    first = digits(rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000))
    np.random.seed(12345)
    second = digits(np.concatenate((np.random.randint(2, size=1000), np.random.randint(8, size=1000))))
    np.random.seed(12345)
    errors = digits([np.random.binomial(1, 0.2) for _ in range(1000)] + [np.random.binomial(1, 0.8) for _ in range(1000)])
    rng = random.Random(42)
    both = [rng.choices(r, k=1000) for r in ([0, 1], range(4, 8), [0, 1], range(4, 8))]
    four = digits(sum(both, []))
    rng = random.Random(42)
    weak = digits(rng.choices([0, 1], k=1000) + rng.choices([0, 1], k=1000, weights=[0.3, 0.7]))
    assert first["sha256"] == "9ffbe62f92311968e0d1aea1def4c0d81d5b621905f72f6e8a41ffc421427f8a"
    assert second["sha256"] == "246c3421338c8604150a24dddcd3381f5b9128a05aac488889e3b9be4b9a5742"
    return {
        "source": "online-ml/river: Page-Hinkley river/drift/page_hinkley.py doctest and river/drift/test_drift_detectors.py at 063ca61d;"
        " ADWIN river/drift/test_adwin_regression.py at 2a0fd1ce (every bucket edge is tried; the older 063ca61d skips some and says 1055);"
        " DDM river/drift/test_drift_detectors.py at 063ca61d and the doctest of river/drift/binary/ddm.py at 7cb99563",
        "pageHinkley": [{**first, "alarms": [1006]}, {**second, "alarms": [1020, 1991]}],
        "adwin": [{**second, "alarms": [1023]}, {**four, "alarms": [1023, 2015, 3007]}],
        "ddm": [{**errors, "alarms": [1049]}, {**weak, "alarms": [1334], "firstWarnings": [1084, 1492]}],
    }


def distances():
    rng = np.random.default_rng(20263)
    gaps, shares = [], []
    for n, m, shift, scale, places in [(30, 40, 0.5, 1, 4), (200, 150, 0.0, 2, 4), (50, 500, -1, 0.2, 1), (1, 3, 2, 1, 4), (60, 60, 0, 1, 0)]:
        x = sorted(float(v) for v in np.round(rng.standard_normal(n) * scale + shift, places))
        y = sorted(float(v) for v in np.round(rng.standard_normal(m), places))
        gaps.append({
            "reference": x, "current": y, "ks": stats.ks_2samp(x, y, mode="asymp").statistic,
            "wasserstein": stats.wasserstein_distance(x, y), "energy": stats.energy_distance(x, y),
            "normalised": stats.wasserstein_distance(x, y) / max(float(np.std(x)), 1e-3),
        })
    for k in (2, 10, 40):
        p, q = rng.integers(0, 30, k), rng.integers(0, 90, k)
        a, b = p / p.sum(), q / q.sum()
        r, c = np.where(a == 0, 1e-4, a), np.where(b == 0, 1e-4, b)
        shares.append({
            "reference": p.tolist(), "current": q.tolist(),
            "jensenShannon": float(spatial.distance.jensenshannon(p, q)),
            "hellinger": float(np.sqrt(1 - np.sum(np.sqrt(a * b)))), "psi": float(np.sum((r - c) * np.log(r / c))),
        })
    nulls = [{"n": n, "m": m, "bins": k, "psi": (1 / n + 1 / m) * stats.chi2.isf(0.05, k - 1)} for n, m, k in [(1000, 1000, 10), (50000, 200, 20), (100, 1_000_000, 2)]]
    return {
        "source": f"generate.py with numpy {np.__version__} and scipy {scipy.__version__} of Debian 12; Hellinger and PSI from their formulas",
        "gaps": gaps, "shares": shares, "nulls": nulls,
    }


write("streams.json", streams())
write("scipy.json", distances())
