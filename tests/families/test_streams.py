"""Every preset gives the items it gave when streams.json was written, and their fingerprint.

The file changes only together with a generator's version, and the CHANGELOG says so."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pptrain.core import create_task

STORED = json.loads((Path(__file__).with_name("streams.json")).read_text())
PLACES = [(0, "train", 0, None), (7, "eval", 0, range(3)), (1, "train", 2, [5, 4999])]
MANY, FEW = 32, 4   # items of the first place; few where one takes a simulation
SLOW = ("nca", "random_rnn")
MIXED = {"parts": [
    {"name": "repetition", "config": {"preset": "smoke"}, "weight": 2},
    {"name": "procedural", "config": {"preset": "smoke"}, "weight": {0: 1, 20: 3}},
    {"name": "random_rnn", "config": {"preset": "smoke"}}]}
MIXED_STREAM = ("8a6585c9bcca186331756485", "cb72daff97c081579817f0ea")


def digest(task, items: int) -> str:
    "sha256 over ids, loss masks and attention of some items of three streams."
    found = hashlib.sha256()
    for seed, split, epoch, asked in PLACES:
        indices = range(items) if asked is None else asked
        for x in task.examples(seed, split, epoch, list(indices)):
            found.update(x.ids.astype("<i8").tobytes())
            found.update(x.mask.astype(bool).tobytes())
            if x.attend is not None:
                found.update(x.attend.astype("<i8").tobytes())
    return found.hexdigest()[:24]


@pytest.mark.parametrize("family", STORED)
def test_presets_keep_their_streams(family):
    def changed():
        for name, stored in STORED[family].items():
            task = create_task(family, preset=name)
            if task.fingerprint(0, FEW) != stored["fingerprint"]:
                yield f"{name}: another fingerprint"
            if digest(task, FEW if family in SLOW else MANY) != stored["items"]:
                yield f"{name}: other items"
    found = list(changed())
    assert not found, "\n".join(found)


def test_a_mixture_keeps_its_stream():
    task = create_task("mixture", MIXED)
    assert (digest(task, MANY), task.fingerprint(0, FEW)[:24]) == MIXED_STREAM
