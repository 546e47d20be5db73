"""Batches by kernels: the same items as one by one, wherever and however they are made."""
from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import pytest
import torch
from conftest import ROOT

from pptrain.core import create_task, registered_presets
from pptrain.core.task import trusted_columns
from pptrain.data import SPLITS, Collate, fillers
from pptrain.data.columns import Columns
from pptrain.data.draws import Draws, item_draws, item_keys
from pptrain.data.fillers import Filler
from pptrain.data.kernels import compiled, find_numba, kernel
from pptrain.tasks.dyck import Dyck, languages
from pptrain.tasks.lime import rows as lime_rows
from pptrain.tasks.procedural import Procedural, problems
from pptrain.tasks.simpler_tasks import ops as SIMPLE
from pptrain.tasks.simpler_tasks import rows as simple_rows
from pptrain.tasks.summarization.marked_rows import MARKED
from pptrain.tasks.summarization.step_rows import STEP

FAMILIES = ("procedural", "dyck", "simpler_tasks", "lime", "summarization")
PRESETS = [(family, preset.name) for family in FAMILIES for preset in registered_presets(family)]
each_preset = pytest.mark.parametrize("family, preset", PRESETS, ids=["-".join(p) for p in PRESETS])
needs_numba = pytest.mark.skipif(find_numba() is None, reason="numba is not here, or turned off")

FAR = [5, 0, 10**12, 3, 5, 2**40 + 1, 77]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    "Machine code from the first row on, unless a test says otherwise."
    monkeypatch.setattr(fillers, "WORTH", 0)


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


def forget_fillers() -> None:
    "As in a new process: no filler has machine code."
    for make in (languages.row_filler, problems.row_filler, simple_rows.row_filler,
                 lime_rows.mode_filler):
        make.cache_clear()
    for filler in (MARKED, STEP):
        filler.quick, filler.spent = None, 0


@needs_numba
@each_preset
def test_rows_by_python_are_rows_by_machine_code(family, preset, monkeypatch):
    "A batch before the threshold, one with some fillers before and some behind it, one behind."
    forget_fillers()
    task = create_task(family, preset=preset)
    found = []
    for turns in ([False], [True, False], [True]):
        turn = cycle(turns)
        monkeypatch.setattr(Filler, "pays", lambda filler, turn=turn: next(turn))
        rows = task.columns(3, "train", 1, FAR)
        if rows is None:
            assert has_no_kernel(family, preset)
            return
        found.append([lists(row) for row in rows])
    assert found[0] == found[1] == found[2]
    assert found[0] == [lists(x.features()) for x in task.examples(3, "train", 1, FAR)]


@needs_numba
def test_threads_that_cross_the_threshold_together(monkeypatch, tmp_path):
    monkeypatch.setenv("PPTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(fillers, "WORTH", 0.01)
    forget_fillers()
    task = create_task("procedural", tasks=["set", "reverse"])
    places = [range(start, start + 200) for start in range(0, 3200, 200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: task.columns(0, "train", 0, place), places))
    assert all(problems.row_filler(op).quick for op in ("set", "reverse"))
    rows = np.concatenate([batch.ids for batch in found])
    assert (rows == task.columns(0, "train", 0, range(3200)).ids).all()
    assert rows[1234].tolist() == task.examples(0, "train", 0, [1234])[0].ids.tolist()


@needs_numba
@pytest.mark.parametrize("family", [*FAMILIES, "nca"])
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


TWO = {"procedural": {"tasks": ("set", "stack")}, "dyck": {}}   # family → settings
FIVE = TWO | {"simpler_tasks": {"tasks": ("union", "count")}, "lime": {"tasks": ("deduct",)},
              "summarization": {}}
EVERY = FIVE | {"nca": {"complexity_min": .2, "sequence_count": 500}, "random_rnn": {},
                "repetition": {}}


def digest_of_batches(families=TWO) -> str:
    "sha256 over batches of some families, as a collator sees them."
    found = hashlib.sha256()
    for family, settings in families.items():
        bundle = create_task(family, preset="smoke", **settings).build_datasets(11)
        batch = bundle.data_collator(bundle.train_dataset.__getitems__([4, 400, 1]))
        for name in sorted(batch):
            found.update(np.ascontiguousarray(batch[name].numpy()).tobytes())
    return found.hexdigest()


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
    ("summarization", {"preset": "paper_ourtasks_100k", "max_length": 165}),
    ("summarization", {"preset": "smoke", "loss": "all", "words": 7, "tasks_per_document": 4}),
    ("summarization", {"preset": "paper_ourtasks_100k", "word_count": 26**3, "sentences": 40,
                       "max_length": 1000}),
    ("summarization", {"preset": "paper_step_tasks_100k", "step_pieces": 64, "max_length": 200}),
    ("summarization", {"preset": "paper_step_tasks_100k", "step_pieces": 16, "words": 4,
                       "word_spread": 3, "word_count": 3, "max_length": 80}),
])
def test_settings_reach_the_kernels(family, settings):
    task = create_task(family, settings)
    place = (5, "train", 1, list(range(150)))
    rows, examples = task.columns(*place), task.examples(*place)
    assert [lists(row) for row in rows] == [lists(x.features()) for x in examples]


def test_the_papers_own_stream_of_documents_comes_one_by_one():
    task = create_task("summarization", preset="smoke", stream="official")
    assert task.columns(0, "train", 0, [0, 1]) is None
    assert task.columns(0, "eval", 0, [0, 1]) is not None or find_numba() is None


def test_tables_of_kernels_do_not_travel():
    task = create_task("summarization", preset="paper_masked_document_100k")
    before = len(pickle.dumps(task))
    task.columns(0, "train", 0, [0])
    assert len(pickle.dumps(task)) == before
    there = pickle.loads(pickle.dumps(task)).columns(0, "train", 0, [7])
    [here] = task.examples(0, "train", 0, [7])
    assert there is None or lists(there[0]) == lists(here.features())


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

@pytest.mark.parametrize("jit", ["0", "1"])
def test_with_and_without_a_compiler(jit, tmp_path):
    "Another process, whatever this one does: the same bits; nothing is compiled where it is off."
    told = said(digest_elsewhere(tmp_path, "EVERY", NUMBA_DISABLE_JIT=jit))
    assert told == (digest_of_batches(EVERY), "")
    assert jit == "0" or not (tmp_path / "kernels").exists()


def digest_elsewhere(cache, families="TWO", before="t.fillers.WORTH = 0", after="''",
                     **env) -> subprocess.Popen:
    "Another process, which prints the digest of its batches."
    code = (f"import sys, test_columns as t; {before}; "
            f"print(t.digest_of_batches(t.{families}), {after}, sep='')")
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests/families"), *sys.path])
    env = os.environ | {"PPTRAIN_CACHE": str(cache), "PYTHONPATH": path} | env
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env)


def said(process: subprocess.Popen) -> tuple[str, str]:
    "What a process printed, and what it complained of."
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.strip(), err


@needs_numba
def test_two_that_compile_at_once_agree_and_a_damaged_cache_is_made_anew(tmp_path):
    two = [digest_elsewhere(tmp_path) for _ in range(2)]
    assert [said(process) for process in two] == [(digest_of_batches(), "")] * 2
    kept = list((tmp_path / "kernels").iterdir())
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:40])
    assert said(digest_elsewhere(tmp_path)) == (digest_of_batches(), "")


@needs_numba
def test_a_few_rows_wait_for_no_compiler_but_take_what_it_left(tmp_path):
    by_machine_code = "bool(t.problems.row_filler('set').quick)"
    compile_now, take_now = "t.fillers.WORTH = 0", "t.fillers.SOON = 0"
    turns = ((take_now, False), (compile_now, True), (take_now, True), ("pass", False))
    for before, quick in turns:
        told = said(digest_elsewhere(tmp_path, before=before, after=by_machine_code))
        assert told == (f"{digest_of_batches()}{quick}", "")
        kept = bool(list((tmp_path / "kernels").glob("*.nbi")))
        assert kept == (quick or before == "pass")


@needs_numba
@pytest.mark.parametrize("cache, home", [
    ("a file where a folder should be", ""), ("/proc/no/such/folder", ""), ("", "/proc/nowhere")])
def test_without_a_place_to_keep_them_kernels_work_and_say_nothing(cache, home, tmp_path):
    if cache.startswith("a file"):
        (tmp_path / "kernels").write_text(cache)
        cache = str(tmp_path)
    env = {"HOME": home} if home else {}
    assert said(digest_elsewhere(cache, **env)) == (digest_of_batches(), "")


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

def test_no_training_item_has_the_key_of_an_evaluation_item():
    "Before the last mixing, a bijection, the words of one split are even and of the other odd."
    def even_or_odd(key: int) -> int:
        for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
            key ^= key >> shift ^ key >> 2 * shift
            key = key * pow(factor, -1, 2**64) % 2**64
        return key % 2
    for bit, split in enumerate(SPLITS):
        for seed, epoch, lane in ((0, 0, 0), (1, 0, 0), (-5, 2**40, 3), (2**64 - 1, 7, 1)):
            keys = item_keys(seed, split, epoch, FAR, lane).ravel().tolist()
            assert len(set(keys)) == len(set(FAR))
            assert {even_or_odd(key) for key in keys} == {bit}


def test_addresses_that_differ_in_one_thing_have_other_keys():
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
