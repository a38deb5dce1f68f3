"""Computes shift.json: the Hodges-Lehmann estimate and the interval of the
Mann-Whitney test by brute force, in exact rational arithmetic but for the
quantile, and independently of the code under test.

Source of the first case: Hollander and Wolfe, Nonparametric Statistical Methods
(1973), page 69, permeability of the human chorioamnion; its estimate, 0.305, is
published there (and by R's wilcox.test(x, y, conf.int = TRUE)).
Run: python3 generate.py > shift.json
"""
import json
from decimal import Decimal as D
from math import floor, sqrt
from statistics import NormalDist

term = "0.80 0.83 1.89 1.04 1.45 1.38 1.91 1.64 0.73 1.46".split()
early = "1.15 0.88 0.90 0.74 1.21".split()
cases = [
    ("Hollander and Wolfe, page 69", early, term, 0.90),
    ("the other way round", term, early, 0.90),
    ("higher in all", [str(i) for i in range(10)], [str(i + 20) for i in range(12)], 0.98),
    ("the same on both sides", [str(i) for i in range(8)], [str(i) for i in range(8)], 0.98),
    ("too few points for an interval", ["1", "2"], ["3", "5"], 0.98),
]
out = []
for name, control, experiment, conf in cases:
    d = sorted(D(e) - D(c) for e in experiment for c in control)
    n, m = len(experiment), len(control)
    z = NormalDist().inv_cdf(1 - (1 - conf) / 2)
    k = max(0, floor(n * m / 2 - z * sqrt(n * m * (n + m + 1) / 12)))
    out.append({
        "name": name, "control": [float(x) for x in control], "experiment": [float(x) for x in experiment], "conf": conf,
        "shift": float((d[(len(d) - 1) // 2] + d[len(d) // 2]) / 2), "from": float(d[k]), "to": float(d[len(d) - 1 - k]),
    })
print(json.dumps({"source": "generate.py", "cases": out}, indent=1))
