"""Median simple regret of Debian's Optuna and NLopt on the functions and seeds of regret_test.go, as JSON lines."""
import json, math, statistics, sys
import nlopt, optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
SEEDS, MARKS = int(sys.argv[1]), [30, 60]


def branin(p):
    x, y = -5 + 15 * p[0], 15 * p[1]
    return (y - 5.1 * x * x / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
     [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]


def hartmann6(p):
    return -sum(w * math.exp(-sum(a * (x - 1e-4 * c) ** 2 for a, x, c in zip(A[i], p, P[i])))
                for i, w in enumerate([1, 1.2, 3, 3.2]))


def tpe(f, d, seed, **options):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, **options))
    study.optimize(lambda t: f([t.suggest_float(str(i), 0, 1) for i in range(d)]), n_trials=MARKS[-1])
    return [t.value for t in study.trials]


def direct(f, d, seed):
    seen = []

    def objective(p, _):
        seen.append(f(p))
        return seen[-1]

    opt = nlopt.opt(nlopt.GN_DIRECT_L_RAND, d)
    nlopt.srand(seed)
    opt.set_lower_bounds([0.0] * d)
    opt.set_upper_bounds([1.0] * d)
    opt.set_maxeval(MARKS[-1])
    opt.set_min_objective(objective)
    opt.optimize([0.5] * d)
    return seen


PEERS = {
    "Optuna %s TPE" % optuna.__version__: tpe,
    "Optuna %s TPE, multivariate" % optuna.__version__: lambda f, d, s: tpe(f, d, s, multivariate=True),
    "NLopt %s DIRECT-L, randomised" % nlopt.__version__: direct,
}
for name, run in PEERS.items():
    for function, f, d, least in [("Branin", branin, 2, 0.397887), ("Hartmann6", hartmann6, 6, -3.32237)]:
        runs = [run(f, d, seed) for seed in range(1, SEEDS + 1)]
        medians = [statistics.median(min(r[:m]) - least for r in runs) for m in MARKS]
        print(json.dumps({"optimiser": name, "function": function, "medians": medians}), flush=True)
