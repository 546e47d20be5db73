"""dyck: poisons are caught and named, rows are words of their language, bad settings refused."""
from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from conftest import ROOT

from pptrain.core import create_task, registered_presets
from pptrain.data import Example
from pptrain.errors import InputError
from pptrain.parity import find_vectors, load_vectors
from pptrain.study.facts import levels
from pptrain.tasks.dyck import Dyck, DyckConfig, bracket_facts, depth, match, prefix_valid, valid
from pptrain.tasks.dyck.replay import official_stream, replay_dyck

VECTORS = load_vectors(ROOT / "tests" / "vectors" / "dyck" / "dev.json")
RECORDS = {name: VECTORS[name] for name in ("samples", "streams", "ri", "invalid")}
PRESETS = [p.name for p in registered_presets("dyck")]


def poison(change) -> dict:
    "A copy of the records with one thing changed."
    vectors = copy.deepcopy(RECORDS)
    change(vectors)
    return vectors


def flip_id(v): v["samples"]["proc_dyck_k8_L32"]["records"][1]["ids"][3] ^= 1
def flip_pair(v): v["samples"]["proc_shuffle_k8_L32_D16"]["records"][2]["match"][5] += 1
def flip_depth(v): v["samples"]["hu_dyck_k30_packed128"]["records"][0]["depth"][9] -= 1
def flip_verdict(v): v["samples"]["proc_dyck_k4_L15_ODD"]["records"][0]["valid"] = True
def flip_stream(v): v["streams"]["hu_shuff_k64_L2048_p051_D8"]["sequences"][0]["ids"][-1] = 0
def flip_sentence(v): v["ri"]["dependency_flat_random_walk"]["records"][3]["ids"][2] += 1
def flip_plain(v): v["ri"]["no_structure_zipf"]["records"][1]["ids"][0] += 1
def flip_text(v): v["ri"]["dependency_nesting_zipf"]["raw_first2"][1] += " (0"
def flip_invalid(v): v["invalid"][4]["valid_shuffle"] ^= True
def flip_least(v): v["invalid"][7]["min_depth"] -= 1


@pytest.mark.parametrize("change, section, record", [
    (flip_id, "samples proc_dyck_k8_L32", "record 1 (seed 101)"),
    (flip_pair, "samples proc_shuffle_k8_L32_D16", "record 2 (seed 102)"),
    (flip_depth, "samples hu_dyck_k30_packed128", "record 0 (seed 100)"),
    (flip_verdict, "samples proc_dyck_k4_L15_ODD", "record 0 (seed 100)"),
    (flip_stream, "streams hu_shuff_k64_L2048_p051_D8", "record 0 (seed 100)"),
    (flip_sentence, "ri dependency_flat_random_walk", "record 3 (seed 100)"),
    (flip_plain, "ri no_structure_zipf", "record 1 (seed 100)"),
    (flip_text, "ri dependency_nesting_zipf", "record 1 (seed 100)"),
    (flip_invalid, "invalid", "record 4 "),
    (flip_least, "invalid", "record 7 "),
], ids=lambda x: getattr(x, "__name__", None))
def test_poisoned_record_is_named(change, section, record):
    tally = replay_dyck(poison(change))
    assert not tally.ok
    assert [(s, r.startswith(record)) for s, r, _ in tally.failures] == [(section, True)]


def test_clean_records_pass():
    tally = replay_dyck(RECORDS)
    assert tally.ok, tally.table()
    assert not replay_dyck({}).ok


@pytest.mark.parametrize("where, name", [
    ("ri_no_structure_uniform", "len_hist"), ("ri_no_structure_uniform", "type_freq_log2_bins"),
    ("proc_dyck_k8_L64_p049", "max_depth_hist"),
    ("proc_dyck_k8_L64_p049", "match_distance_hist_binned"),
    ("proc_dyck_k8_L64_p049", "tokens"),
])
def test_poisoned_count_fails(where, name):
    entry = copy.deepcopy(next(s for s in VECTORS["stats"] if s["name"] == where))
    if isinstance(entry[name], dict): entry[name][min(entry[name])] += 1
    else: entry[name] += 1
    tally = replay_dyck({"stats": [entry]})
    assert [(s, r) for s, r, _ in tally.failures] == [(f"stats {where}", name)]


@pytest.mark.slow
def test_full_vectors():
    full = find_vectors("dyck")
    if full is None or ROOT in full.parents: pytest.skip("only the committed part is here")
    tally = replay_dyck(load_vectors(full))
    assert tally.ok, tally.table()


def test_official_stream_is_one_generator():
    "Sequence j of a stream is the j-th call after seeding."
    group = VECTORS["streams"]["hu_dyck_k30_L2048_packed"]
    config = DyckConfig(language="hu_dyck", bracket_types=30, length=2048)
    stream = official_stream(group["seed"], config)
    assert [next(stream) for _ in group["sequences"]] == [s["ids"] for s in group["sequences"]]


@pytest.mark.parametrize("name", PRESETS)
def test_rows_begin_words_of_their_language(name):
    task = create_task("dyck", {"preset": name})
    padding = task.tokenizer_spec().vocab_size - 1
    for x in task.build_datasets(seed=1).train_dataset.batch(range(50)):
        assert x.mask.all() and x.ids.max() < padding
        assert x.meta["op"] == task.config.language
        if task.config.paired:
            assert prefix_valid(x.ids, task.config.bracket_types, task.config.language)
        if task.config.language in ("dyck", "nesting", "flat") and task.config.paired:
            assert valid(x.ids, task.config.bracket_types, task.config.language)


class Renamed(Dyck):
    "Brackets under another name."
    name = "renamed_brackets"


def test_a_subclass_looks_like_its_parent():
    parent = create_task("dyck", preset="smoke")
    child, xs = Renamed(parent.config), parent.examples(0, "train", 0, range(8))
    assert child.knobs() == parent.knobs()
    assert child.scene(xs[0]) == parent.scene(xs[0]) and "brackets" in child.scene(xs[0])
    assert (child.stamp(xs)[0] == parent.stamp(xs)[0]).all()


def test_a_scene_is_plain():
    task = create_task("dyck", preset="official_shuffle")
    x = task.sample(0)
    scene = json.loads(json.dumps(task.scene(x)))
    assert scene == task.scene(x)
    brackets = scene["brackets"]
    for i, j in enumerate(brackets["match"]):
        assert j == -1 or brackets["match"][j] == i
    assert len(brackets["depth"]) == len(brackets["crossing"]) == len(x)


def test_validators():
    assert match([0, 1, 2, 3], 2, "shuffle") == [2, 3, 0, 1]
    assert valid([], 2) and not valid([0], 2) and prefix_valid([0], 2)
    assert bracket_facts([0, 2, 1], 2)["final_depth"] == 1 and depth([2, 0], 2).tolist() == [-1, 0]
    for bad in ([0, 4], [-1]):
        for check in (match, valid, prefix_valid, bracket_facts, depth):
            with pytest.raises(InputError, match=r"must lie in 0\.\.3"): check(bad, 2)
    with pytest.raises(InputError, match="did you mean 'shuffle'"): match([0], 2, "shufle")


@pytest.mark.parametrize("config, says", [
    ({"length": 63}, "64"), ({"bracket_types": 0}, "bracket_types=0"),
    ({"open_probability": 1.0}, "between 0 and 1"),
    ({"language": "dyk"}, "'dyck'"),
    ({"tokens": "ziph"}, "'zipf'"),
    ({"max_length": 62}, "works is 64"),
    ({"preset": "paper_k61"}, "did you mean 'paper_k"),
    ({"brackettypes": 3}, "mean 'bracket_types'"),
])
def test_refusals(config, says):
    with pytest.raises(InputError) as told: create_task("dyck", config)
    assert says in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_cannot_be_foreseen_lies_below_frequency(preset):
    task = create_task("dyck", preset=preset)
    rows = task.head(3)
    nats = [task.surprisal(row) for row in rows]
    if task.config.language not in ("dyck", "shuffle"):
        assert nats == [None] * 3
        return
    for row, own in zip(rows, nats):
        assert own.shape == row.ids.shape and np.isfinite(own).all() and (own >= 0).all()
        assert own[0] == np.log(task.config.bracket_types)
        changed = row.ids.copy()
        changed[-1] = 0                         # what comes later changes nothing before
        assert np.array_equal(task.surprisal(Example(changed, row.mask))[:-1], own[:-1])
    assert np.concatenate(nats).mean() < levels(task, 3)["loss"]
