"""One contract for every family: its items are addresses, it travels, and it answers the views."""
from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import re
import resource
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.utils.data import DataLoader

from pptrain.core import RegisteredTask, Task, create_task, register_family, registered_tasks
from pptrain.core.registry import TASKS
from pptrain.data import IGNORE, SPLITS, Collate, Example, TaskDataset, item_key, shuffled
from pptrain.data.fillers import Filler
from pptrain.errors import InputError


def is_built_in(entry: RegisteredTask) -> bool:
    return (entry.config_class or type).__module__.startswith("pptrain.tasks.")


FAMILIES = {entry.name: entry for entry in registered_tasks() if is_built_in(entry)}
PRESETS = [(entry.name, preset.name) for entry in FAMILIES.values() for preset in entry.presets]

each_family = pytest.mark.parametrize("family", FAMILIES)
pair_names = ["-".join(pair) for pair in PRESETS]
each_preset = pytest.mark.parametrize("family, preset", PRESETS, ids=pair_names)


@pytest.fixture(scope="module", autouse=True)
def warm():
    "Imports and compilers are paid once, before anything is timed."
    torch.set_num_threads(1)
    for name in FAMILIES:
        smoke(name).build_datasets().train_dataset[0]


def smoke(family: str, **settings) -> Task:
    return create_task(family, preset="smoke", **settings)


def spacious(entry: RegisteredTask) -> Task:
    "The family where it has most room, so that two equal items would be no accident."
    # the official ones replay a paper's stream
    own = [p for p in entry.presets if not p.name.startswith("official")]
    widest = max(own, key=lambda p: p.config.get("max_length", 0))
    return create_task(entry.name, preset=widest.name)


def rows(dataset: TaskDataset, indices) -> list[tuple[bytes, bytes]]:
    "Items as hashable facts."
    return [(x.ids.tobytes(), x.mask.tobytes()) for x in dataset.batch(indices)]


def as_lists(row: dict) -> dict:
    return {name: tensor.tolist() for name, tensor in row.items()}


def fingerprints() -> dict[str, str]:
    "sha256 of some items of every family, by name."
    digests = {}
    for name in FAMILIES:
        bundle = smoke(name).build_datasets(seed=9)
        items = rows(bundle.train_dataset, [3, 0, 41]) + rows(bundle.eval_dataset, [0, 7])
        digests[name] = hashlib.sha256(b"".join(ids + mask for ids, mask in items)).hexdigest()
    return digests


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# every preset

@each_preset
def test_builds_at_once(family, preset, monkeypatch):
    """Under 2 s of CPU and 1 GB whatever the count, the first item included, in a new process.

    So without machine code: a test before this one may have left its filler about to compile."""
    monkeypatch.setattr(Filler, "ready", lambda filler: None)
    memory, start = peak_bytes(), time.process_time()
    bundle = create_task(family, preset=preset).build_datasets(seed=1)
    bundle.train_dataset[len(bundle.train_dataset) - 1]
    seconds, grown = time.process_time() - start, peak_bytes() - memory
    assert seconds < 2 and grown < 2**30, f"{seconds:.1f} s and {grown / 2**20:.0f} MB"


@each_preset
def test_items_keep_the_contract(family, preset):
    task = create_task(family, preset=preset)
    bundle, spec = task.build_datasets(seed=42), task.tokenizer_spec()
    assert len(bundle.train_dataset) == task.config.sequence_count
    assert len(bundle.eval_dataset) == task.config.eval_sequence_count
    for row in [*bundle.train_dataset.__getitems__([0, 5]), bundle.eval_dataset[-1]]:
        ids, labels = row["input_ids"], row["labels"]
        assert set(row) == {"input_ids", "labels", "attention_mask"}
        for column in row.values():
            assert column.dtype == torch.int64 and column.ndim == 1 and len(column) == len(ids)
        assert ((labels == ids) | (labels == IGNORE)).all() and (labels != IGNORE).any()
        assert 0 <= ids.min() and ids.max() < spec.vocab_size
        assert len(ids) <= task.config.max_length
        unseen = row["attention_mask"] == 0
        assert (labels[unseen] == IGNORE).all(), "a token that nobody sees cannot be predicted"


def promised_shares(task: Task) -> dict[str, float]:
    "The share of each operation that the settings promise; empty for a task of one operation."
    fields = [name for name in ("tasks", "modes") if hasattr(task.config, name)]
    ops = getattr(task.config, fields[0]) if fields else ()
    if len(ops) < 2:
        return {}
    return {op: count / len(ops) for op, count in Counter(ops).items()}


@pytest.mark.slow
@each_preset
def test_two_hundred_items(family, preset):
    "Each in range, within bounds, with something to learn, its end too; no operation is starved."
    task = create_task(family, preset=preset)
    spec, examples = task.tokenizer_spec(), task.head(200)
    for x in examples:
        assert 0 <= x.ids.min() <= x.ids.max() < spec.vocab_size
        assert len(x) <= task.config.max_length and x.mask.any()
        if x.target is not None:
            assert x.ids[-1] == spec.eos_token_id
            assert x.mask[-1], "the end is learnt"
    counts = Counter(x.meta["op"] for x in examples)
    if any("+" in op for op in counts):
        return   # several operations in one example: the settings promise no share of each
    for op, share in promised_shares(task).items():
        spread = (share * (1 - share) / len(examples)) ** .5
        off = abs(counts[op] / len(examples) - share)
        assert off < 3 * spread, f"{op}: {counts[op]} of {len(examples)}"


@each_preset
def test_far_items_come_as_fast(family, preset):
    "Item 4,999,999 is an address like any other."
    task = create_task(family, preset=preset, sequence_count=5_000_000)
    far = task.build_datasets(seed=3).train_dataset[4_999_999]
    assert len(far["input_ids"]) <= task.config.max_length


@each_preset
def test_travels(family, preset):
    "Tasks, their methods, datasets, collators and examples survive pickling, and mean the same."
    task = create_task(family, preset=preset)
    bundle = task.build_datasets(seed=3)
    again = pickle.loads(pickle.dumps(task))
    assert again.export_config() == task.export_config() and again.preset == preset
    parts = (
        task.sample, bundle.train_dataset, shuffled(bundle.eval_dataset), bundle.data_collator)
    sample, train, soup, collate = pickle.loads(pickle.dumps(parts))
    example = pickle.loads(pickle.dumps(bundle.train_dataset.example(2)))
    assert sample(2, seed=3).ids.tolist() == example.ids.tolist() == train[2]["input_ids"].tolist()
    assert len(soup) == len(bundle.eval_dataset) and isinstance(collate, Collate)


# every family

@each_family
def test_has_a_small_smoke_preset_and_sources(family):
    presets = {p.name: p for p in FAMILIES[family].presets}
    assert presets["smoke"].config["max_length"] <= 256
    assert FAMILIES[family].description and all(p.description for p in presets.values())
    unsourced = [name for name, preset in presets.items() if not preset.reference]
    assert not unsourced, "a preset cites its paper or says that it is ours"


@each_family
def test_an_item_is_the_same_alone_in_a_batch_and_in_workers(family):
    data = smoke(family).build_datasets(seed=3).train_dataset
    alone = [as_lists(data[i]) for i in range(24)]
    assert [as_lists(row) for row in data.__getitems__(range(23, -1, -1))][::-1] == alone
    for workers in (0, 2):
        loader = DataLoader(data, 6, sampler=range(24), collate_fn=list, num_workers=workers)
        assert [as_lists(row) for batch in loader for row in batch] == alone, f"{workers} workers"


@pytest.mark.slow
@each_family
def test_an_item_is_the_same_in_a_worker_started_afresh(family):
    data = smoke(family).build_datasets(seed=3)
    here = data.data_collator(data.train_dataset.__getitems__(range(4)))["input_ids"]
    loader = DataLoader(data.train_dataset, 4, num_workers=1, multiprocessing_context="spawn",
                        collate_fn=data.data_collator)
    assert torch.equal(next(iter(loader))["input_ids"], here)


def test_an_item_is_the_same_in_another_process():
    code = ("import json, sys; sys.path[:0] = ['tests', 'tests/families']; import test_contract; "
            "print(json.dumps(test_contract.fingerprints()))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"PYTHONHASHSEED": "77"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == fingerprints()


@each_family
def test_counts_change_no_item(family):
    few = smoke(family, sequence_count=10, eval_sequence_count=20).build_datasets(seed=5)
    many = smoke(family, sequence_count=10**9, eval_sequence_count=30).build_datasets(seed=5)
    assert rows(few.eval_dataset, range(20)) == rows(many.eval_dataset, range(20))
    assert rows(few.train_dataset, range(10)) == rows(many.train_dataset, range(10))


@each_family
def test_no_items_are_no_items(family):
    bundle = smoke(family).build_datasets(seed=0)
    data = bundle.train_dataset
    assert data.batch([]) == [] and len(data.__getitems__([])) == 0
    assert bundle.data_collator(data.__getitems__([]))["input_ids"].shape[0] == 0


@each_family
def test_streams_share_nothing(family):
    "Neighbouring seeds, splits and epochs are disjoint where the space is large."
    task = spacious(FAMILIES[family])
    together = []
    for seed in (7, 8):
        bundle = task.build_datasets(seed)
        together += rows(bundle.train_dataset, range(40)) + rows(bundle.eval_dataset, range(40))
        bundle.train_dataset.set_epoch(1)
        together += rows(bundle.train_dataset, range(40))
    assert len(set(together)) == len(together) == 40 * 6


@each_family
def test_an_epoch_moves_training_items_only(family):
    bundle = smoke(family).build_datasets(seed=0)
    both = dict(zip(SPLITS, (bundle.train_dataset, bundle.eval_dataset)))
    first = {split: rows(data, range(20)) for split, data in both.items()}
    for data in both.values():
        data.set_epoch(2)
    assert rows(bundle.eval_dataset, range(20)) == first["eval"]
    assert rows(bundle.train_dataset, range(20)) != first["train"]
    bundle.train_dataset.set_epoch(0)
    assert rows(bundle.train_dataset, range(20)) == first["train"]


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("view", ["as it is", "shuffled"])
def test_workers_that_live_on_follow_the_epoch(start, view):
    "Whatever way workers are started, they serve the epoch that was set last, and no other."
    bundle = smoke("procedural", sequence_count=12).build_datasets(seed=3)
    data = shuffled(bundle.train_dataset) if view == "shuffled" else bundle.train_dataset
    loader = DataLoader(data, 3, collate_fn=bundle.data_collator, num_workers=2,
                        persistent_workers=True, prefetch_factor=2, multiprocessing_context=start)
    epochs = []
    for epoch in (0, 1, 4, 1):
        data.set_epoch(epoch)
        alone = [bundle.data_collator(data.__getitems__(range(i, i + 3))) for i in range(0, 12, 3)]
        served = [batch["input_ids"].tolist() for batch in loader]
        assert served == [batch["input_ids"].tolist() for batch in alone]
        epochs.append(str(served))
    assert len(set(epochs)) == 3 and epochs[1] == epochs[3]


def test_a_copy_has_an_epoch_of_its_own():
    data = smoke("dyck").build_datasets(seed=0).train_dataset
    data.set_epoch(2)
    for other in (copy.copy(data), copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert rows(other, range(5)) == rows(data, range(5))
        other.set_epoch(3)
        assert other.epoch == 3 and data.epoch == 2
        assert rows(other, range(5)) != rows(data, range(5))


@each_family
@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16, np.uint64, torch.tensor])
def test_a_number_is_a_number_whatever_its_type(family, kind):
    "Seeds and indices: numpy's and torch's whole numbers mean what they show."
    task = smoke(family)
    three = kind(3)
    bundle, plain = task.build_datasets(seed=three), task.build_datasets(seed=3)
    assert rows(bundle.train_dataset, [three]) == rows(plain.train_dataset, [3])
    assert torch.equal(bundle.eval_dataset[three]["input_ids"], plain.eval_dataset[3]["input_ids"])
    assert task.sample(three, seed=three).ids.tolist() == task.sample(3, seed=3).ids.tolist()
    assert task.head(2, seed=three)[1].ids.tolist() == task.sample(1, seed=3).ids.tolist()
    assert task.fingerprint(seed=three, items=2) == task.fingerprint(seed=3, items=2)
    assert bundle.train_dataset.seed == 3 and type(bundle.train_dataset.seed) is int


@each_family
def test_what_is_no_whole_number_is_refused(family):
    data = smoke(family).build_datasets(seed=0).train_dataset
    for wrong in (2.7, 2.0, np.float64(2), True, np.True_, torch.tensor(True), "2", None, [1, 2],
                  slice(0, 2), torch.tensor([1, 2])):
        with pytest.raises(InputError, match="^item=.*whole number"):
            data[wrong]
    for seed in (1.5, True, "one"):
        with pytest.raises(InputError, match="^seed=.*whole number"):
            smoke(family).build_datasets(seed=seed)
        with pytest.raises(InputError, match="^seed=.*whole number"):
            smoke(family).sample(0, seed=seed)


@each_family
@pytest.mark.parametrize("seed", [2**64, -(2**64) - 1, 10**30, 10**5000],
                         ids=["above", "below", "large", "beyond spelling"])
def test_seeds_of_more_than_64_bits_are_refused(family, seed):
    "By every door; the largest and the smallest that work are worlds of their own."
    task = smoke(family)
    for ask in (task.build_datasets, lambda n: task.sample(0, seed=n), task.fingerprint,
                lambda n: task.head(1, seed=n), lambda n: item_key(n, "train", 0)):
        with pytest.raises(InputError, match="^seed=.*whole number"):
            ask(seed)
    firsts = [task.sample(0, seed=n).ids.tolist() for n in (0, 1, -2, 2**64 - 1)]
    assert all(firsts) and firsts[0] != firsts[2]


@pytest.mark.parametrize("family, settings, field", [
    ("summarization", {"preset": "smoke", "max_length": 81}, "max_length"),
    ("summarization", {"preset": "paper_ourtasks_t5_100k", "max_length": 300}, "max_length"),
    ("procedural", {"preset": "smoke", "max_length": 27}, "max_length"),
    ("simpler_tasks", {"preset": "smoke", "max_length": 30}, "max_length"),
    ("simpler_tasks", {"tasks": ["merge_dictionaries_three"], "min_symbols": 4,
                       "max_symbols": 12}, "max_symbols"),
    ("simpler_tasks", {"tasks": ["length"], "max_symbols": 221}, "max_symbols"),
    ("lime", {"preset": "smoke", "max_length": 60}, "max_length"),
    ("dyck", {"preset": "hu_ww", "packed": False, "max_length": 20}, "max_length"),
])
def test_the_value_that_a_refusal_names_works_for_every_item(family, settings, field):
    with pytest.raises(InputError, match=field) as refusal:
        create_task(family, settings)
    works = int(re.findall(r"\d+", str(refusal.value))[-1])
    task = create_task(family, {**settings, field: works})
    assert works > settings[field] or "at most" in str(refusal.value)
    assert max(map(len, task.head(200))) <= task.config.max_length


def small_model(task: Task) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(0)
    size = dict(n_positions=256, n_embd=16, n_layer=1, n_head=2)
    return GPT2LMHeadModel(GPT2Config(vocab_size=task.tokenizer_spec().vocab_size, **size)).eval()


@each_family
def test_loss_is_that_of_the_next_token(family):
    "A model's loss is the cross-entropy of logits[t] against token t + 1 under the mask."
    task = smoke(family)
    bundle = task.build_datasets(seed=2)
    examples = [bundle.train_dataset.example(i) for i in range(6)]
    with torch.no_grad():
        out = small_model(task)(**bundle.data_collator([x.features() for x in examples]))
    scores = out.logits.double().log_softmax(-1)
    losses = [-scores[n, t - 1, x.ids[t]].item()
              for n, x in enumerate(examples) for t in range(1, len(x)) if x.mask[t]]
    assert out.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


# what is asked of a family

@each_preset
def test_examples_name_their_operations(family, preset):
    task = create_task(family, preset=preset)
    known = set(task.op_names())
    assert known and len(known) == len(task.op_names())
    for x in task.head(4 if task.costly() else 24):
        assert set(x.meta["op"].split("+")) <= known, x.meta["op"]


@each_family
def test_exact_match_groups_by_operation(family):
    from pptrain.measure import exact_match
    task = smoke(family)
    scores = exact_match(small_model(task), task, n=24)
    groups = scores["by_op"]
    assert sum(group["examples"] for group in groups.values()) == 24
    assert {op for name in groups for op in name.split("+")} <= set(task.op_names())
    assert len(groups) > 1 or len(task.op_names()) == 1


@each_family
def test_summary_counts_the_operations(family):
    summary = smoke(family).summary(items=24)
    counts = next(value for name, value in summary.items() if name.endswith("_counts"))
    assert sum(counts.values()) >= 24


@each_family
def test_what_cannot_fit_is_refused(family):
    with pytest.raises(InputError, match=r"max_length|length") as refusal:
        smoke(family, max_length=3)
    assert "3" in str(refusal.value) and "\n" not in str(refusal.value)


@each_family
def test_the_explorer_filters_by_operation(family):
    from pptrain.widgets import explore
    explorer = explore(family)
    for op in explorer.task.op_names():
        assert explorer.change(only=op), explorer.trouble
        assert op in explorer.example.meta["op"].split("+")
    before = explorer.code()
    assert not explorer.change(only="no such op") and explorer.trouble
    assert explorer.code() == before


@each_family
def test_what_is_drawn_is_plain(family):
    task = smoke(family)
    examples = task.head(8)
    scene = json.loads(json.dumps(task.scene(examples[0])))
    assert isinstance(scene, dict)
    for what, state in task.steps(examples[0]):
        assert isinstance(what, str) and isinstance(state, str)
    for low, high, step in task.knobs().values():
        assert low < high and step > 0
    assert set(task.knobs()) <= set(task.export_config())
    stamp = task.stamp(examples)
    if stamp is not None:
        pixels, colors = stamp
        assert pixels.shape == (8, 48) and pixels.dtype == np.uint8 and pixels.max() < len(colors)


def lasting(scene: dict) -> dict:
    "What a scene shows, without what differs from one drawing to the next."
    volatile = {"version", "milliseconds", "note"}
    return {name: value for name, value in scene.items() if name not in volatile}


@each_family
def test_a_subclass_under_another_name_draws_like_its_parent(family):
    from pptrain.widgets import explore
    parent = type(smoke(family))
    members = {"name": f"my_{family}", "__doc__": "A family like its parent."}
    child = type(f"My{parent.__name__}", (parent,), members)
    before = dict(TASKS)
    try:
        register_family(child, FAMILIES[family].presets)
        mine, theirs = explore(f"my_{family}"), explore(family)
        assert lasting(mine.scene) == lasting(theirs.scene)
        assert set(mine.task.knobs()) == set(theirs.task.knobs())
        strip = re.compile(re.escape(f"my_{family}"))
        assert len(mine.parts()) == len(theirs.parts())
        assert strip.sub(family, mine.code()) == theirs.code()
    finally:
        TASKS.clear()
        TASKS.update(before)


def test_an_example_without_a_vocabulary_is_drawn_too():
    assert "3" in Example([3, 4], [0, 1], {"op": "x"})._repr_html_()
