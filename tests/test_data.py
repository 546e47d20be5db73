"""Data are a function of (family config, seed, split, epoch, i): checked for every registered family and preset."""
from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch
from conftest import ROOT
from torch.utils.data import DataLoader

from pptrain.core import RegisteredTask, Task, create_task, registered_tasks
from pptrain.data import IGNORE, SPLITS

FAMILIES = {t.name: t for t in registered_tasks() if (t.config_class or type).__module__.startswith("pptrain.tasks.")}
PRESETS = [(t.name, p.name) for t in FAMILIES.values() for p in t.presets]

each_family = pytest.mark.parametrize("family", FAMILIES)
each_preset = pytest.mark.parametrize("family, preset", PRESETS, ids=["-".join(pair) for pair in PRESETS])


@pytest.fixture(scope="module", autouse=True)
def warm():
    "Imports and compilers are paid once, before anything is timed."
    torch.set_num_threads(1)
    for name in FAMILIES: create_task(name, preset="smoke").build_datasets().train_dataset[0]


def spacious(entry: RegisteredTask) -> Task:
    "The family where it has most room, so that two equal items would be no accident; not a replay of a paper's stream."
    own = [p for p in entry.presets if not p.name.startswith("official")]
    return create_task(entry.name, preset=max(own, key=lambda p: p.config.get("max_length", 0)).name)


def rows(dataset, indices) -> list[tuple[bytes, bytes]]:
    "Items as hashable facts."
    return [(x.ids.tobytes(), x.mask.tobytes()) for x in dataset.batch(indices)]


def as_lists(row: dict) -> dict:
    return {name: tensor.tolist() for name, tensor in row.items()}


def fingerprints() -> dict[str, str]:
    "sha256 of some items of every family, by name."
    found = {}
    for name in FAMILIES:
        bundle = create_task(name, preset="smoke").build_datasets(seed=9)
        items = rows(bundle.train_dataset, [3, 0, 41]) + rows(bundle.eval_dataset, [0, 7])
        found[name] = hashlib.sha256(b"".join(part for item in items for part in item)).hexdigest()
    return found


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# every preset

@each_preset
def test_builds_at_once(family, preset):
    "Under 2 s and 1 GB whatever the count, the first item included."
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
    for row in bundle.train_dataset.__getitems__([0, 5]) + [bundle.eval_dataset[-1]]:
        assert set(row) == {"input_ids", "labels", "attention_mask"}
        assert all(t.dtype == torch.int64 and t.ndim == 1 and len(t) == len(row["labels"]) for t in row.values())
        ids, labels = row["input_ids"], row["labels"]
        assert ((labels == ids) | (labels == IGNORE)).all() and (labels != IGNORE).any()
        assert 0 <= ids.min() and ids.max() < spec.vocab_size and len(ids) <= task.config.max_length
        assert (labels[row["attention_mask"] == 0] == IGNORE).all(), "a token that nobody sees cannot be predicted"


def nominal(task: Task) -> dict[str, float]:
    "The share of each kind that the settings promise; empty for a task of one kind."
    kinds = next((getattr(task.config, name) for name in ("tasks", "modes") if hasattr(task.config, name)), ())
    return {kind: n / len(kinds) for kind, n in Counter(kinds).items()} if len(kinds) > 1 else {}


@pytest.mark.slow
@each_preset
def test_two_hundred_items(family, preset):
    "Every one in range, within bounds, with something to learn, its end too; no kind of problem is starved."
    task = create_task(family, preset=preset)
    spec, found = task.tokenizer_spec(), task.examples(0, "train", 0, range(200))
    for x in found:
        assert 0 <= x.ids.min() <= x.ids.max() < spec.vocab_size and len(x) <= task.config.max_length and x.mask.any()
        assert x.target is None or (x.ids[-1] == spec.eos_token_id and x.mask[-1]), "the end is learnt"
    shares, key = nominal(task), task.task_group_metadata_key if hasattr(task, "task_group_metadata_key") else None
    counts = Counter(x.meta[key] for x in found) if shares else Counter()
    for kind, share in shares.items():
        spread = (share * (1 - share) / len(found)) ** .5
        assert abs(counts[kind] / len(found) - share) < 3 * spread, f"{kind}: {counts[kind]} of {len(found)}"


@each_preset
def test_far_items_come_as_fast(family, preset):
    "Item 4,999,999 is an address like any other."
    task = create_task(family, preset=preset, sequence_count=5_000_000)
    assert len(task.build_datasets(seed=3).train_dataset[4_999_999]["input_ids"]) <= task.config.max_length


# every family

@each_family
def test_has_a_small_smoke_preset_and_sources(family):
    presets = {p.name: p for p in FAMILIES[family].presets}
    assert presets["smoke"].config["max_length"] <= 256
    assert FAMILIES[family].description and all(p.description for p in presets.values())
    assert all(p.reference for p in presets.values()), "a preset cites its paper or says that it is ours"


@each_family
def test_an_item_is_the_same_alone_in_a_batch_and_in_workers(family):
    data = create_task(family, preset="smoke").build_datasets(seed=3).train_dataset
    alone = [as_lists(data[i]) for i in range(24)]
    assert [as_lists(row) for row in data.__getitems__(range(23, -1, -1))][::-1] == alone
    for workers in (0, 2):
        loader = DataLoader(data, 6, sampler=range(24), collate_fn=list, num_workers=workers)
        assert [as_lists(row) for batch in loader for row in batch] == alone, f"{workers} workers"


def test_an_item_is_the_same_in_another_process():
    code = "import json, sys; sys.path.insert(0, 'tests'); import test_data; print(json.dumps(test_data.fingerprints()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"PYTHONHASHSEED": "77"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == fingerprints()


@each_family
def test_counts_change_no_item(family):
    few, many = (create_task(family, preset="smoke", sequence_count=n, eval_sequence_count=m).build_datasets(seed=5)
                 for n, m in ((10, 20), (10**9, 30)))
    assert rows(few.eval_dataset, range(20)) == rows(many.eval_dataset, range(20))
    assert rows(few.train_dataset, range(10)) == rows(many.train_dataset, range(10))


@each_family
def test_streams_share_nothing(family):
    "Neighbouring seeds, splits and epochs are disjoint where the space is large."
    task = spacious(FAMILIES[family])
    streams = {}
    for seed in (7, 8):
        bundle = task.build_datasets(seed)
        streams |= {(seed, "train", 0): rows(bundle.train_dataset, range(40)), (seed, "eval"): rows(bundle.eval_dataset, range(40))}
        bundle.train_dataset.set_epoch(1)
        streams[seed, "train", 1] = rows(bundle.train_dataset, range(40))
    together = [item for stream in streams.values() for item in stream]
    assert len(set(together)) == len(together) == 40 * 6


@each_family
def test_an_epoch_moves_training_items_only(family):
    bundle = create_task(family, preset="smoke").build_datasets(seed=0)
    first = {split: rows(data, range(20)) for split, data in zip(SPLITS, (bundle.train_dataset, bundle.eval_dataset))}
    for data in (bundle.train_dataset, bundle.eval_dataset): data.set_epoch(2)
    assert rows(bundle.eval_dataset, range(20)) == first["eval"]
    assert rows(bundle.train_dataset, range(20)) != first["train"]
    bundle.train_dataset.set_epoch(0)
    assert rows(bundle.train_dataset, range(20)) == first["train"]


@each_family
def test_loss_is_that_of_the_next_token(family):
    "What a Hugging Face model computes from a batch is the cross-entropy of logits[t] against token t + 1 under the mask."
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(0)
    task = create_task(family, preset="smoke")
    bundle = task.build_datasets(seed=2)
    examples = [bundle.train_dataset.example(i) for i in range(6)]
    batch = bundle.data_collator([x.features() for x in examples])
    model = GPT2LMHeadModel(GPT2Config(vocab_size=task.tokenizer_spec().vocab_size, n_positions=256, n_embd=16, n_layer=1, n_head=2)).eval()
    with torch.no_grad(): out = model(**batch)
    scores = out.logits.double().log_softmax(-1)
    losses = [-scores[n, t - 1, x.ids[t]].item() for n, x in enumerate(examples) for t in range(1, len(x)) if x.mask[t]]
    assert out.loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
