"""Batches by kernels: the same items as one by one, wherever and however they are made."""
from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from pptrain.core import create_task, registered_presets
from pptrain.core.task import trusted_columns
from pptrain.data import Collate
from pptrain.data.columns import Columns
from pptrain.data.draws import Draws, item_draws, item_keys
from pptrain.data.kernels import compiled, find_numba, kernel
from pptrain.tasks.dyck import Dyck
from pptrain.tasks.procedural import Procedural
from pptrain.tasks.simpler_tasks import ops as SIMPLE

FAMILIES = ("procedural", "dyck", "simpler_tasks", "lime")
PRESETS = [(family, preset.name) for family in FAMILIES for preset in registered_presets(family)]
each_preset = pytest.mark.parametrize("family, preset", PRESETS, ids=["-".join(p) for p in PRESETS])
needs_numba = pytest.mark.skipif(find_numba() is None, reason="numba is not here, or turned off")

FAR = [5, 0, 10**12, 3, 5, 2**40 + 1, 77]


def has_no_kernel(family: str, preset: str) -> bool:
    "The paper's own stream of procedural, and words with a topic, come one by one."
    return ((family == "procedural" and preset.startswith("official"))
            or (family == "dyck" and preset.endswith("random_walk")))


def lists(row) -> dict:
    return {name: column.tolist() for name, column in row.items()}


@needs_numba
@each_preset
def test_a_batch_is_its_items(family, preset):
    task = create_task(family, preset=preset)
    for seed, split, epoch in ((0, "train", 0), (-3, "eval", 0), (2**63, "train", 4)):
        rows = task.columns(seed, split, epoch, FAR)
        if rows is None:
            assert has_no_kernel(family, preset)
            continue
        examples = task.examples(seed, split, epoch, FAR)
        assert [lists(row) for row in rows] == [lists(x.features()) for x in examples]
        [alone] = task.columns(seed, split, epoch, FAR[2:3])
        assert lists(alone) == lists(rows[2])


@needs_numba
@pytest.mark.parametrize("family", FAMILIES)
def test_a_collated_batch_is_the_stacked_one(family):
    bundle = create_task(family, preset="smoke").build_datasets(7)
    data = bundle.train_dataset
    rows = data.__getitems__(range(40))
    assert isinstance(rows, Columns)
    stacked = Collate(bundle.data_collator.pad_token_id)([data[i] for i in range(40)])
    quick = bundle.data_collator(rows)
    assert quick.keys() == stacked.keys()
    for name, column in stacked.items():
        assert quick[name].dtype == torch.int64 and torch.equal(quick[name], column)


def digest_of_batches(*families: str) -> str:
    "sha256 over batches of some families, of all if none is named, as a collator sees them."
    found = hashlib.sha256()
    for family in families or FAMILIES:
        bundle = create_task(family, preset="smoke").build_datasets(11)
        batch = bundle.data_collator(bundle.train_dataset.__getitems__([4, 400, 1]))
        for name in sorted(batch):
            found.update(np.ascontiguousarray(batch[name].numpy()).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("jit", ["0", "1"])
def test_with_and_without_a_compiler(jit, tmp_path):
    "Another process, another cache folder: the same bits."
    code = ("import sys; sys.path[:0] = ['tests', 'tests/families']; import test_columns as t; "
            "print(t.find_numba() is None, t.digest_of_batches())")
    env = os.environ | {"NUMBA_DISABLE_JIT": jit, "PPTRAIN_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=env)
    assert done.returncode == 0, done.stderr
    off, digest = done.stdout.split()
    assert digest == digest_of_batches() and (jit == "0" or off == "True")


class OtherWords(Dyck):
    "Writes its words backwards."
    name = "backwards"

    def serialize_task(self, executed, spec):
        return executed.payload[::-1]


class OtherOps(Procedural):
    "Has an op of its own under a name of ours."
    name = "other_ops"
    ops = type(Procedural.ops)(Procedural.ops | {"set": lambda xs: xs[:1]})


def test_an_op_without_a_kernel_is_drawn_one_by_one():
    "Beside an op that has one, too."
    SIMPLE.drawn("ends_only", SIMPLE.samplers["copy"])(lambda seq: [*seq[:1], *seq[-1:]])
    try:
        task = create_task("simpler_tasks", tasks=["set", "ends_only"], max_length=300)
        assert task.columns(0, "train", 0, [0, 1]) is None
        batch = task.build_datasets(0).train_dataset.__getitems__(range(20))
        examples = task.examples(0, "train", 0, range(20))
    finally:
        del SIMPLE["ends_only"], SIMPLE.samplers["ends_only"]
    assert [lists(row) for row in batch] == [lists(x.features()) for x in examples]
    assert {x.meta["op"] for x in examples} == {"set", "ends_only"}


@needs_numba
@pytest.mark.parametrize("family, settings", [
    ("simpler_tasks", {"preset": "paper_binary_1m", "max_length": 128}),
    ("simpler_tasks", {"preset": "smoke", "loss": "all"}),
    ("simpler_tasks", {"tasks": ["search", "sort"], "symbols": 3, "min_symbols": 4,
                       "max_symbols": 24}),
    ("lime", {"preset": "paper_mixed_5m", "max_length": 128}),
    ("lime", {"preset": "smoke", "loss": "all", "op_token": True}),
    ("lime", {"tasks": ["rewrite_multistep_easy"], "steps": [2, 9]}),
])
def test_settings_reach_the_kernels(family, settings):
    task = create_task(family, settings)
    rows, examples = (make(5, "train", 1, list(range(150))) for make in (task.columns, task.examples))
    assert [lists(row) for row in rows] == [lists(x.features()) for x in examples]


class Renamed(Procedural):
    name = "renamed"


@pytest.mark.parametrize("kind, parent", [(OtherWords, "dyck"), (OtherOps, "procedural")])
def test_a_subclass_that_tells_its_items_anew_is_heard(kind, parent):
    task = kind(create_task(parent, preset="smoke").config)
    assert trusted_columns(task) is None
    data = task.build_datasets(0).train_dataset
    batch = data.__getitems__(range(12))
    assert [lists(row) for row in batch] == [lists(data[i]) for i in range(12)]


def test_a_subclass_that_changes_no_item_keeps_the_kernels():
    task = Renamed(create_task("procedural", preset="smoke").config)
    assert trusted_columns(task) == task.columns
    data = pickle.loads(pickle.dumps(task.build_datasets(0).train_dataset))
    assert lists(data.__getitems__([3])[0]) == lists(data[3])


# kernels

@needs_numba
@pytest.mark.parametrize("spoil", ["damaged", "unwritable", "elsewhere"])
def test_a_cache_that_cannot_be_used_costs_time_only(spoil, tmp_path):
    code = "import test_columns as t; print(t.digest_of_batches('dyck'))"
    env = os.environ | {"PPTRAIN_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(
        [str(ROOT / "tests"), str(ROOT / "tests/families"), *sys.path])}

    def digest() -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env,
                              cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    if spoil == "damaged":
        first = digest()
        kept = [path for path in (tmp_path / "kernels").iterdir()]
        assert kept
        for path in kept:
            path.write_bytes(path.read_bytes()[:40])
        assert digest() == first
    elif spoil == "unwritable":
        (tmp_path / "kernels").write_text("a file where a folder should be")
        assert digest() == digest_of_batches("dyck")
    else:
        env["PPTRAIN_CACHE"] = "/proc/no/such/folder"
        assert digest() == digest_of_batches("dyck")


def scaled(factor):
    def fill(out):
        for i in range(len(out)): out[i] = factor * times(i)
    return fill


@kernel
def times(i):
    return i + 1


@needs_numba
def test_two_closures_of_one_factory_are_two_functions():
    "Their machine code goes by different names, whatever was kept on disk."
    filled = []
    for factor in (2, 3, 5):
        out = np.zeros(4, np.int64)
        function = scaled(factor)
        compiled(function)(out)
        filled.append((function.__qualname__, out.tolist()))
    assert [row for _, row in filled] == [[2, 4, 6, 8], [3, 6, 9, 12], [5, 10, 15, 20]]
    assert len({name for name, _ in filled}) == 3


# draws

def test_addresses_that_differ_in_one_thing_have_other_keys():
    "By construction, as every step of a key is a bijection."
    def keys(seed, split, epoch, lane): return item_keys(seed, split, epoch, range(500), lane)
    base = (6, "train", 3, 0)
    others = [(7, "train", 3, 0), (6, "eval", 3, 0), (6, "train", 4, 0), (6, "train", 3, 1)]
    first = keys(*base)
    assert len(np.unique(first)) == 500
    assert not any((first == keys(*other)).any() for other in others)
    assert (first == keys(*base)).all()


def test_bounded_numbers_are_even_and_inside():
    from scipy.stats import chisquare
    for n in (1, 2, 3, 99, 1000):
        numbers = Draws(n).integers(n, size=200_000)
        assert numbers.min() >= 0 and numbers.max() < n
        assert n == 1 or chisquare(np.bincount(numbers, minlength=n)).pvalue > 1e-4


def test_every_order_is_as_likely():
    from collections import Counter
    from scipy.stats import chisquare
    orders = Counter()
    for draws in item_draws(0, "train", 0, range(24_000)):
        deck = [0, 1, 2, 3]
        draws.shuffle(deck)
        orders[tuple(deck)] += 1
    assert len(orders) == 24 and chisquare(list(orders.values())).pvalue > 1e-4
