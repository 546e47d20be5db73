"""How often the rule decides: simulated studies of many shapes, with and without an effect.

    python bench/rule.py --studies 20000 --out bench/results/rule.csv

Differences are paired by seed and counted in standard deviations of their shape (t2 in quartiles of
the bell, its spread has no end). `effect` is the mean they were moved to. A study is decided when
`pptrain.study.decide` says `replicated` or `contradicted`; all are counted by the two functions
that it asks, and the first twenty of each row by `decide` itself, which must agree. Draws depend on
shape and number of pairs alone; studies with an effect are a tenth as many."""
from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from pptrain.study import decide
from pptrain.study.statistics import detected, t_interval

PAIRS = (2, 3, 5, 6, 8, 10)
EFFECTS = (0.0, 0.5, 1.0, -0.5, -1.0)
T2_QUARTILE = .816497 / .674490     # of t2, over that of the bell


def groks(rng, size, first, second):
    "1 or 0 for either arm, a little noise on top."
    ones = (rng.random(size) < first).astype(float) - (rng.random(size) < second)
    return ones + rng.normal(0, .05, size)


# name → (draws, their mean, their standard deviation, symmetric about the mean)
SHAPES = {
    "normal": (lambda rng, size: rng.normal(size=size), 0, 1, True),
    "t, 3 degrees": (lambda rng, size: rng.standard_t(3, size), 0, 3**.5, True),
    "t, 2 degrees": (lambda rng, size: rng.standard_t(2, size), 0, T2_QUARTILE, True),
    "groks or not, 1/2 and 1/2": (
        lambda rng, size: groks(rng, size, .5, .5), 0, (.5 + .0025)**.5, True),
    "groks or not, 1/10 and 1/10": (
        lambda rng, size: groks(rng, size, .1, .1), 0, (.18 + .0025)**.5, True),
    "two humps": (
        lambda rng, size: rng.choice([-1, 1], size) + rng.normal(0, .25, size), 0, 1.0625**.5,
        True),
    "groks or not, 1/4 and never": (
        lambda rng, size: groks(rng, size, .25, 0), .25, (.1875 + .0025)**.5, False),
    "groks or not, 1/10 and never": (
        lambda rng, size: groks(rng, size, .1, 0), .1, (.09 + .0025)**.5, False),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1, 1, False),
    "chi-squared, 1 degree": (lambda rng, size: rng.chisquare(1, size), 1, 2**.5, False),
    "lognormal, sigma 1": (
        lambda rng, size: rng.lognormal(0, 1, size), np.exp(.5),
        ((np.e - 1) * np.e)**.5, False),
}


def drawn(shape, pairs, studies):
    "Differences of mean zero and spread one, float (studies, pairs)."
    draw, mean, spread, _ = SHAPES[shape]
    rng = np.random.default_rng([zlib.crc32(shape.encode()), pairs])
    return (draw(rng, (studies, pairs)) - mean) / spread


def ways(d):
    "1, -1 or 0 for each study (studies, pairs): gain, loss, or not decided."
    parts = []
    for part in np.array_split(d, max(1, d.size * 2**d.shape[1] // 10**8)):
        low, _ = t_interval(part, .95)
        parts.append(np.where(detected(part), np.where(low > 0, 1, -1), 0))
    way = np.concatenate(parts)
    words = {"replicated": 1, "contradicted": -1, "undecided": 0}
    assert [words[decide(study).verdict] for study in d[:20]] == way[:20].tolist()
    return way


def table(studies):
    "A row for each shape, number of pairs and effect."
    rows = []
    for shape, (_, _, _, symmetric) in SHAPES.items():
        for pairs in PAIRS:
            d = drawn(shape, pairs, studies)
            for effect in EFFECTS:
                count = studies // 10 if effect else studies
                way = ways(d[:count] + effect)
                rows.append({
                    "shape": shape, "symmetric": symmetric, "pairs": pairs, "effect": effect,
                    "studies": count, "decided": np.mean(way != 0), "gain": np.mean(way == 1),
                    "loss": np.mean(way == -1)})
        print(pd.DataFrame(rows[-len(PAIRS) * len(EFFECTS):]).query("effect == 0")
              [["shape", "pairs", "decided", "loss"]].to_string(index=False))
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = table(asked.studies)
    if asked.out:
        found.round(5).to_csv(asked.out, index=False)
