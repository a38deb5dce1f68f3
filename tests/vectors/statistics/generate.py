#!/usr/bin/env python3
"""Writes scipy.json: tests and distributions as SciPy computes them.

Inputs are written out, so that the file is a vector and not a recipe. Benjamini
and Hochberg is in no SciPy of Debian 12: it is written down here from the
paper.

Run:  /usr/bin/python3 generate.py > scipy.json   (Debian's python3-scipy)
"""

import json
import sys

import numpy as np
import scipy
from scipy import special, stats

random = np.random.default_rng(20262)
ALTERNATIVES = {"two-sided": "two-sided", "less": "less", "greater": "greater"}


def sample(n, shift=0.0, scale=1.0, digits=4):
    return [float(v) for v in np.round(random.standard_normal(n) * scale + shift, digits)]


def bh(p):
    p = np.asarray(p)
    order, m, least = np.argsort(p), len(p), 1.0
    q = np.empty(m)
    for rank in range(m, 0, -1):
        least = min(least, p[order[rank - 1]] * m / rank)
        q[order[rank - 1]] = least
    return q.tolist()


def ranks():
    for n, m, shift, digits in [(8, 11, 0.0, 4), (20, 15, 0.6, 4), (40, 60, -0.3, 1), (200, 300, 0.1, 4), (1, 5, 0, 4)]:
        x, y = sample(n, shift, digits=digits), sample(m, digits=digits)
        tied = len(set(x + y)) < n + m
        for alt in ALTERNATIVES:
            r = stats.mannwhitneyu(x, y, alternative=alt, method="asymptotic")
            case = {"x": x, "y": y, "alternative": alt, "u": r.statistic, "asymptotic": r.pvalue}
            if not tied and n * m <= 400:
                case["exact"] = stats.mannwhitneyu(x, y, alternative=alt, method="exact").pvalue
            yield case


def smirnov():
    for n, m, shift, digits in [(10, 12, 0.5, 4), (60, 60, 0.2, 4), (100, 99, 0.0, 4), (30, 300, 0.4, 4), (80, 90, 0.3, 1), (1, 1, 0, 4)]:
        x, y = sorted(sample(n, shift, digits=digits)), sorted(sample(m, digits=digits))
        for alt in ALTERNATIVES:
            r = stats.ks_2samp(x, y, alternative=alt, mode="exact")
            yield {"x": x, "y": y, "alternative": alt, "d": r.statistic, "p": r.pvalue}


def limits():
    for n, m, d in [(150, 200, 0.11), (1000, 1000, 0.05), (5000, 300, 0.02), (400, 400, 0.2)]:
        en = n * m / (n + m)
        large, small = max(n, m), min(n, m)
        z = np.sqrt(en) * d
        one = np.exp(-2 * z**2 - 2 * z * (large + 2 * small) / np.sqrt(large * small * (large + small)) / 3)
        yield {"n": n, "m": m, "d": d, "twoSided": special.kolmogorov(z), "oneSided": float(one)}


def welch():
    for n, m, shift, scale in [(5, 9, 0.5, 2), (30, 40, 0.3, 1), (200, 20, 0.0, 5), (2, 2, 1, 1)]:
        x, y = sample(n, shift), sample(m, 0, scale)
        vx, vy = np.var(x, ddof=1) / n, np.var(y, ddof=1) / m
        df = (vx + vy) ** 2 / (vx**2 / (n - 1) + vy**2 / (m - 1))
        for alt in ALTERNATIVES:
            r = stats.ttest_ind(x, y, equal_var=False, alternative=alt)
            yield {"x": x, "y": y, "alternative": alt, "t": r.statistic, "df": float(df), "p": r.pvalue}


def counts():
    for k in (2, 5, 20):
        reference, current = random.integers(5, 200, k), random.integers(5, 200, k)
        expected = reference * (current.sum() / reference.sum())
        chi, g = stats.chisquare(current, expected), stats.power_divergence(current, expected, lambda_="log-likelihood")
        both = stats.chi2_contingency([reference, current], correction=False)
        yield {
            "reference": reference.tolist(), "current": current.tolist(), "expected": expected.tolist(),
            "chi": [chi.statistic, chi.pvalue], "g": [g.statistic, g.pvalue], "homogeneity": [both[0], both[1]],
        }


def fisher():
    for table in [[3, 1, 1, 3], [10, 2, 3, 15], [0, 10, 12, 3], [100, 90, 110, 80], [1, 0, 0, 1], [30, 500, 12, 700], [7, 7, 7, 7]]:
        for alt in ALTERNATIVES:
            odds, p = stats.fisher_exact(np.reshape(table, (2, 2)), alternative=alt)
            yield {"table": table, "alternative": alt, "odds": None if np.isinf(odds) else odds, "p": p}


def distributions():
    out = []
    for x, df in [(0.1, 1), (3.84, 1), (4.03, 5), (20, 10), (55.76, 40), (150, 100), (1200, 1000), (1e-8, 3), (800, 2)]:
        out.append({"name": "chiSquare", "x": x, "df": df, "p": stats.chi2.sf(x, df)})
    for x, df in [(0, 1), (1.5, 2.5), (-2, 7), (2.5, 30), (12, 4), (40, 3), (1.96, 1e6), (0.001, 9)]:
        out.append({"name": "student", "x": x, "df": df, "p": stats.t.sf(x, df)})
    for x in (0.2, 0.5, 0.9999, 1, 1.0001, 1.36, 2, 5):
        out.append({"name": "kolmogorov", "x": x, "df": 0, "p": special.kolmogorov(x)})
    for x in (-8, -1.96, 0, 0.3, 1.96, 6, 20):
        out.append({"name": "normal", "x": x, "df": 0, "p": stats.norm.sf(x)})
    for x in (1e-12, 0.001, 0.025, 0.5, 0.8, 0.975, 0.999999):
        out.append({"name": "quantile", "x": x, "df": 0, "p": stats.norm.ppf(x)})
    return out


families = [[0.01, 0.04, 0.03, 0.005], sorted(random.random(12).round(4).tolist(), reverse=True), [0.5], [0.05] * 4, [1, 0]]
json.dump({
    "source": f"generate.py with numpy {np.__version__} and scipy {scipy.__version__} of Debian 12; BenjaminiHochberg from the paper",
    "mannWhitney": list(ranks()), "smirnov": list(smirnov()), "limits": list(limits()), "welch": list(welch()),
    "counts": list(counts()), "fisher": list(fisher()), "distributions": distributions(),
    "benjaminiHochberg": [{"p": p, "q": bh(p)} for p in families],
}, sys.stdout, indent=1)
print()
