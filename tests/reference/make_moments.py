"""Make `moments.json`: Gaussian moments of catalogued activations that have no closed form.

Run `python tests/reference/make_moments.py` in the repository; it takes some minutes. The method is
Gauss-Legendre quadrature in 50 digits, on panels narrow beside the activation and the Gaussian. If
fewer nodes change one of the 24 digits printed, it stops with an error.
"""

# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false

import json
import sys
from functools import cache
from pathlib import Path

import mpmath as mp

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from closed_forms import CLOSED_FORMS  # noqa: E402
from meanfield.catalogue import CATALOGUE  # noqa: E402
from test_catalogue import FORMULAS  # noqa: E402

VARIANCES = ["1e-8", "1e-3", "1", "30", "1e4", "1e6"]
MOMENTS = ("phi", "phi2", "phi4", "dphi2", "dphi4")
OSCILLATING = ("sinc", "sinc_pi")
DIGITS = 24


def edges(q, oscillating: bool) -> list:
    """Multiples of the standard deviation, half integers, and octaves."""
    far = 16 * mp.sqrt(q)
    positive = {mp.mpf(k) * far / 32 for k in range(33)} | {mp.mpf(k) / 2 for k in range(40)}
    if oscillating:
        positive |= {mp.mpf(k) for k in range(int(far) + 1)}
    positive |= {mp.mpf(2) ** k for k in range(5, 16)}
    inside = {x for x in positive if x <= far}
    return sorted(inside | {-x for x in inside})


@cache
def rule(n: int) -> list:
    """Gauss-Legendre nodes and weights."""
    found = []
    for k in range(n):
        x = mp.cos(mp.pi * (k + mp.mpf(3) / 4) / (n + mp.mpf(1) / 2))
        for _ in range(8):
            p, before = x, mp.mpf(1)
            for m in range(2, n + 1):
                p, before = ((2 * m - 1) * x * p - (m - 1) * before) / m, p
            slope = n * (before - x * p) / (1 - x * x)
            x -= p / slope
        found.append((x, 2 / ((1 - x * x) * slope**2)))
    return found


def moments(function, q, n: int, oscillating: bool) -> list:
    """The five moments by `n` nodes a panel."""
    total = [mp.mpf(0)] * 5
    ends = edges(q, oscillating)
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        for node, weight in rule(n):
            x = (low + high + (high - low) * node) / 2
            share = weight * (high - low) / 2 * mp.npdf(x, 0, mp.sqrt(q))
            f, d = function(x), mp.diff(function, x)
            for k, power in enumerate((f, f**2, f**4, d**2, d**4)):
                total[k] += share * power
    return total


def records(name: str) -> list[dict[str, str]]:
    """What has no closed form, at each variance."""
    missing = [moment for moment in MOMENTS if moment not in CLOSED_FORMS.get(name, {})]
    exact = {key: mp.mpf(value) for key, value in CATALOGUE[name].complete({}).items()}
    oscillating = name in OSCILLATING
    found = []
    for q in VARIANCES if missing else []:
        if oscillating and float(q) > 100:
            continue
        fine = moments(lambda x: FORMULAS[name](x, **exact), mp.mpf(q), 32, oscillating)
        coarse = moments(lambda x: FORMULAS[name](x, **exact), mp.mpf(q), 24, oscillating)
        row = {"activation": name, "q": q}
        for moment in missing:
            k = MOMENTS.index(moment)
            scale = mp.sqrt(fine[1]) if moment == "phi" else fine[k]
            assert abs(fine[k] - coarse[k]) < mp.mpf(10) ** -(DIGITS + 1) * scale, (name, q, moment)
            row[moment] = mp.nstr(fine[k] if abs(fine[k]) > 1e-30 * scale else 0, DIGITS)
        found.append(row)
    return found


if __name__ == "__main__":
    mp.mp.dps = 50
    rows = [row for name in CATALOGUE for row in records(name)]
    meta = {
        "digits": DIGITS,
        "numbers": "decimal strings",
        "method": "mpmath at 50 digits, by make_moments.py; parameters as in the catalogue",
    }
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{\n"meta": {json.dumps(meta)},\n"records": [\n{lines}\n]\n}}\n'
    (HERE / "moments.json").write_text(text, encoding="utf-8")
