#!/usr/bin/env python3
"""Writes strategy.json: what numpy makes of strategies and robust rules.

Every formula is written down here from its paper, on float64 arrays, without
a look at the product's code:

  fedavgm, fedadagrad, fedadam, fedyogi   Hsu et al. 2019; Reddi et al. 2021, Algorithm 2
  scaffold                                Karimireddy et al. 2020, Algorithm 1, option II
  fedbuff                                 Nguyen et al. 2022, Algorithm 1
  median, trimmed mean                    Yin et al. 2018
  krum, multi-krum, bulyan                Blanchard et al. 2017; El Mhamdi et al. 2018
  geometric median                        the minimum of the summed distances, by Newton's method
  norm bound                              Sun et al. 2019
  buckets                                 ranked by SHA-256, dealt out in turn

Values of updates are float32; all arithmetic is float64.

Run:  python3 generate.py > strategy.json   (numpy 1.24)
"""

import hashlib
import json
import sys

import numpy as np

random = np.random.default_rng(20261)


def f32(*shape, scale=1.0):
    return (random.standard_normal(shape) * scale).astype(np.float32)


def listed(a):
    return np.asarray(a, dtype=np.float64).tolist()


# --- steps of the server: four rounds of eight weights ---------------------

ROUNDS, D = 4, 8


def steps():
    base = f32(D)
    means = [random.standard_normal(D) * 0.1 for _ in range(ROUNDS)]
    means[1][2] = 0.0
    out = []

    def run(name, params, move):
        w, state, rounds = base.copy(), {}, []
        for d in means:
            w = (w.astype(np.float64) + move(d, state)).astype(np.float32)
            rounds.append({"weights": listed(w), "state": {k: listed(v) for k, v in state.items()}})
        out.append({"strategy": {"name": name, **params}, "rounds": rounds})

    def averaged(rate):
        return lambda d, s: rate * d

    def momentum(rate, beta):
        def move(d, s):
            s["m"] = beta * s.get("m", np.zeros(D)) + d
            return rate * s["m"]
        return move

    def adaptive(rate, b1, tau, second):
        def move(d, s):
            s["m"] = b1 * s.get("m", np.zeros(D)) + (1 - b1) * d
            s["v"] = second(s.get("v", np.full(D, tau ** 2)), d)
            return rate * s["m"] / (np.sqrt(s["v"]) + tau)
        return move

    run("fedavg", {}, averaged(1.0))
    run("fedavg", {"serverRate": 0.3}, averaged(0.3))
    run("fedprox", {"proximalMu": 0.1}, averaged(1.0))
    run("fedavgm", {}, momentum(1.0, 0.9))
    run("fedavgm", {"serverRate": 0.5, "momentum": 0.7}, momentum(0.5, 0.7))
    run("fedadagrad", {}, adaptive(0.1, 0.0, 1e-3, lambda v, d: v + d ** 2))
    run("fedadagrad", {"beta1": 0.5, "tau": 0.01}, adaptive(0.1, 0.5, 0.01, lambda v, d: v + d ** 2))
    run("fedadam", {}, adaptive(0.1, 0.9, 1e-3, lambda v, d: 0.99 * v + (1 - 0.99) * d ** 2))
    run("fedadam", {"serverRate": 0.02, "beta1": 0.8, "beta2": 0.95, "tau": 0.05},
        adaptive(0.02, 0.8, 0.05, lambda v, d: 0.95 * v + (1 - 0.95) * d ** 2))
    run("fedyogi", {}, adaptive(0.1, 0.9, 1e-3, lambda v, d: v - (1 - 0.99) * d ** 2 * np.sign(v - d ** 2)))
    run("fedyogi", {"beta2": 0.5, "tau": 0.2}, adaptive(0.1, 0.9, 0.2, lambda v, d: v - (1 - 0.5) * d ** 2 * np.sign(v - d ** 2)))
    return {"base": listed(base), "means": [listed(m) for m in means], "runs": out}


# --- scaffold: 5 sites on quadratics, 3 of them a round --------------------

def scaffold():
    n, k, rate, eta = 5, 4, 0.1, 0.8
    centres = random.standard_normal((n, D))
    x, c, ci = np.zeros(D, dtype=np.float32), np.zeros(D), np.zeros((n, D))
    rounds = []
    for r in range(3):
        chosen = sorted(random.permutation(n)[:3].tolist())
        dy, dc = [], []
        for i in chosen:
            y = x.astype(np.float64)
            for _ in range(k):
                y = y - rate * ((y - centres[i]) + c - ci[i])
            plus = ci[i] - c + (x.astype(np.float64) - y) / (k * rate)
            dy.append(y - x.astype(np.float64))
            dc.append(plus - ci[i])
            ci[i] = plus
        x = (x.astype(np.float64) + eta * np.mean(dy, axis=0)).astype(np.float32)
        c = c + len(chosen) / n * np.mean(dc, axis=0)
        rounds.append({"chosen": chosen, "weights": listed(x), "control": listed(c), "own": [listed(v) for v in ci]})
    return {"sites": n, "steps": k, "rate": rate, "serverRate": eta, "centres": [listed(v) for v in centres], "rounds": rounds}


# --- robust rules ----------------------------------------------------------

def distances(x):
    return ((x[:, None, :] - x[None, :, :]) ** 2).sum(axis=2)


def krum_scores(x, f, least=0):
    d, m = distances(x), len(x)
    return [np.sort(np.delete(d[i], i))[:max(least, m - f - 2)].sum() for i in range(m)]


def trimmed(x, cut):
    return np.sort(x, axis=0)[cut:len(x) - cut].mean(axis=0)


def bulyan(x, f):
    left, chosen = list(range(len(x))), []
    while len(chosen) < len(x) - 2 * f:
        chosen.append(left.pop(int(np.argmin(krum_scores(x[left], f, least=1)))))
    s = x[sorted(chosen)]
    beta = len(s) - 2 * f
    out = []
    for col in s.T:
        near = sorted(col, key=lambda v: (abs(v - np.median(col)), v))
        out.append(np.mean(near[:beta]))
    return sorted(chosen), out


def geometric(x):
    z = np.median(x, axis=0)
    for _ in range(200):
        diff = z - x
        d = np.sqrt((diff ** 2).sum(axis=1))
        g = (diff / d[:, None]).sum(axis=0)
        h = sum(np.eye(len(z)) / d[i] - np.outer(diff[i], diff[i]) / d[i] ** 3 for i in range(len(x)))
        step, t = np.linalg.solve(h, g), 1.0
        while np.sqrt(((z - t * step - x) ** 2).sum(axis=1)).sum() > d.sum() + 1e-13 and t > 1e-9:
            t /= 2
        z = z - t * step
        if np.linalg.norm(g) < 1e-12:
            break
    assert np.linalg.norm(g) < 1e-9, np.linalg.norm(g)
    return z


def bounded(x, most):
    norms = np.sqrt((x ** 2).sum(axis=1))
    return (x * np.minimum(1, most / norms)[:, None]).mean(axis=0)


def robust():
    out = []
    for n, d, f in [(11, 13, 2), (12, 9, 2), (7, 5, 1), (3, 4, 0), (50, 6, 11)]:
        updates = f32(n, d)
        updates[:f] = -8 * updates[:f] + 3  # liars come first
        x = updates.astype(np.float64)
        scores, m = krum_scores(x, f), n - f - 2
        order = np.argsort(scores, kind="stable").tolist()
        keep = max(1, m // 2)
        chosen, values = bulyan(x, f)
        share = (f + 0.5) / n if f else 0.01
        rules = [
            ({"rule": "median"}, None, np.median(x, axis=0)),
            ({"rule": "trimmed_mean", "trim": share, "byzantine": f}, None, trimmed(x, f)),
            ({"rule": "krum", "byzantine": f}, order[:1], x[order[0]]),
            ({"rule": "multi_krum", "byzantine": f}, sorted(order[:m]), x[order[:m]].mean(axis=0)),
            ({"rule": "multi_krum", "byzantine": f, "keep": keep}, sorted(order[:keep]), x[order[:keep]].mean(axis=0)),
            ({"rule": "bulyan", "byzantine": f}, chosen, values),
            ({"rule": "geometric_median"}, None, geometric(x)),
            ({"rule": "norm_bound", "maxNorm": 2.5}, None, bounded(x, 2.5)),
        ]
        if n < 4 * f + 3:
            rules = [r for r in rules if r[0]["rule"] != "bulyan"]
        out.append({"updates": [listed(u) for u in updates],
                    "rules": [{"strategy": s, "kept": k, "mean": listed(v)} for s, k, v in rules]})
    return out


def fedbuff():
    updates, tau = f32(6, D), [0, 1, 2, 5, 20, 3]
    thousandths = [np.floor(1000 / np.sqrt(1 + t)) for t in tau]  # whole ones, as the fabric has them
    mean = sum(w / 1000 * u.astype(np.float64) for u, w in zip(updates, thousandths)) / len(tau)
    return {"updates": [listed(u) for u in updates], "staleness": tau, "mean": listed(mean)}


def buckets():
    out = []
    for n, size, seed in [(3, 3, "a"), (10, 3, "run-1/4"), (100, 7, "seed"), (11, 4, "")]:
        sites = ["clinic-%03d/site" % i for i in range(n)]
        ranked = sorted(sites, key=lambda s: hashlib.sha256((seed + "\n" + s).encode()).digest())
        count = n // size
        out.append({"sites": sites, "size": size, "seed": seed,
                    "buckets": [sorted(ranked[b::count]) for b in range(count)]})
    return out


json.dump({
    "source": "tests/vectors/strategy/generate.py: the papers' formulas in numpy, float64",
    "steps": steps(), "scaffold": scaffold(), "robust": robust(), "fedbuff": fedbuff(), "buckets": buckets(),
}, sys.stdout)
sys.stdout.write("\n")
