"""Writes rdp.json and pld.json: accountant values found by other means than the
Go code uses. Needs numpy. Run it in this folder.

rdp.json: integer orders as an exact sum in 60 decimal digits; other orders by
the trapezoid rule in 80-bit floats, which converges exponentially for an
integrand that falls off as a Gaussian does.

pld.json: bounds below and above the true epsilon. The loss of one answer is
rounded down to a fine grid for one and up for the other, and convolved with
itself by FFT; no connection of dots, no merging, no windows from moments.
"""
import json
from decimal import Decimal, getcontext
from math import comb, erfc, exp, log, sqrt

import numpy as np

getcontext().prec = 60


def integer(q, sigma, order):
    q, s = Decimal(q), Decimal(sigma)
    a = sum(Decimal(comb(order, k)) * (1 - q) ** (order - k) * q ** k
            * (Decimal(k * k - k) / (2 * s * s)).exp() for k in range(order + 1))
    return float(a.ln() / (order - 1))


def real(q, sigma, order):
    L = np.longdouble
    q, s, a = L(q), L(sigma), L(order)
    x = np.arange(-30 * s, a + 30 * s, s / 256, dtype=L)
    f = np.exp(-x * x / (2 * s * s) + a * np.log1p(q * np.expm1((2 * x - 1) / (2 * s * s))))
    return float(np.log(f.sum() * (s / 256) / (s * np.sqrt(2 * L(np.pi)))) / (a - 1))


def epsilon(q, sigma, n, delta, h, up, add):
    tail = np.vectorize(lambda x: 0.5 * erfc(x / sqrt(2)))
    low, high = log(1 - q) if q < 1 else -30.0, 12.0
    ends = np.arange(np.floor(low / h), np.ceil(high / h) + 1) * h
    with np.errstate(divide="ignore", invalid="ignore"):
        x = sigma ** 2 * np.log1p(np.maximum(np.expm1(ends) / q, -1)) + 0.5
    absent, present = tail(x / sigma), tail((x - 1) / sigma)
    over = absent if add else (1 - q) * absent + q * present  # P above each end
    mass = over[:-1] - over[1:]
    first = int(round(ends[0] / h))
    index = np.arange(first, first + len(mass))  # lower end of each interval
    infinite, below = over[-1], 1 - over[0]
    if add:  # the loss of add is minus that of remove
        index = -(index + 1)
        infinite, below = 0.0, below  # all mass below the least x is at the largest loss
        mass = mass.copy()
        mass[0] += below
        mass[-1] += over[-1]
    else:
        mass = mass.copy()
        mass[0] += below
    index = index + (1 if up else 0)
    size = 1 << int(np.ceil(np.log2(24 / h)))
    circle = np.zeros(size)
    np.add.at(circle, index % size, mass)
    power = np.fft.irfft(np.fft.rfft(circle) ** n, size)
    losses = ((np.arange(size) + size // 3) % size - size // 3) * h
    order = np.argsort(losses)
    losses, power = losses[order], np.maximum(power[order], 0)
    infinite = 1 - (1 - infinite) ** n if up else 0.0

    def delta_at(e):
        i = np.searchsorted(losses, e, side="right")
        return infinite + float((power[i:] * -np.expm1(e - losses[i:])).sum())

    a, b = 0.0, 15.0
    for _ in range(60):
        m = (a + b) / 2
        a, b = (m, b) if delta_at(m) > delta else (a, m)
    return b


rdp = []
for q, sigma in [("0.01", "4"), ("0.0025", "1.3"), ("0.04", "1.5"), ("0.5", "1"), ("0.1", "0.6"), ("0.001", "100")]:
    for order in [2, 3, 4, 8, 19, 32, 64, 256]:
        rdp.append({"sampleRate": float(q), "noiseMultiplier": float(sigma), "order": order, "rdp": integer(q, sigma, order), "exact": True})
    for order in [1.1, 1.5, 2.5, 3.9, 7.3, 10.9]:
        rdp.append({"sampleRate": float(q), "noiseMultiplier": float(sigma), "order": order, "rdp": real(q, sigma, order)})
json.dump({"source": "generate.py beside this file: the moments of Mironov, Talwar and Zhang 2019 (arXiv:1908.10530), integer orders in 60 digits, others by quadrature in 80-bit floats", "cases": rdp}, open("rdp.json", "w"), indent=1)

pld = []
for q, sigma, n, delta, h in [(0.04, 1.5, 2250, 1e-5, 4e-6), (0.0025, 1.3, 6000, 1e-5, 2e-6), (0.01, 4, 1000, 1e-5, 4e-6), (0.5, 2, 20, 1e-6, 2e-5), (0.1, 0.8, 10, 1e-6, 2e-5), (0.3, 1, 1, 1e-5, 1e-5)]:
    low = max(epsilon(q, sigma, n, delta, h, False, add) for add in (False, True))
    high = max(epsilon(q, sigma, n, delta, h, True, add) for add in (False, True))
    pld.append({"sampleRate": q, "noiseMultiplier": sigma, "count": n, "delta": delta, "low": low, "high": high})
    print(pld[-1])
json.dump({"source": "generate.py beside this file: losses rounded down and up to a fine grid, both sides, convolved by FFT (Koskela et al., AISTATS 2020)", "cases": pld}, open("pld.json", "w"), indent=1)
