"""procedural: poisons are caught and named, answers are those of the ops, bad settings refused."""
from __future__ import annotations

import copy
from collections import Counter

import pytest
from conftest import ROOT

from pptrain.core import create_task
from pptrain.errors import InputError
from pptrain.parity import find_vectors, load_vectors
from pptrain.tasks.procedural import EXTRA_OPS, PAPER_OPS, Procedural, ProceduralConfig, ops
from pptrain.tasks.procedural.replay import procedural_counts, replay_procedural

COMMITTED = ROOT / "tests" / "vectors" / "procedural" / "dev.json"
SECTIONS = ("set_L16_V100", "delete_L7_V100", "stack_L16_V12")


# a vector file with one wrong fact

@pytest.fixture(scope="module")
def vectors() -> dict:
    samples = load_vectors(COMMITTED)["samples"]
    return {"samples": {name: samples[name] for name in SECTIONS}}


@pytest.fixture(scope="module")
def statistics() -> dict:
    "A small entry of `stats`, counted over the paper's own stream."
    family = Procedural(ProceduralConfig(tasks=("set",), length=8, stream="official"))
    counts = procedural_counts("set", family.examples(42, "train", 0, range(300)))
    entry = {"task": "set", "L": 8, "vocab_size": 100, "seed0": 42, "n": 300}
    for name in ("output_len_hist", "first_token_freq"):
        entry[name] = {str(value): times for value, times in sorted(counts[name].items())}
    return entry


def test_clean_vectors_pass(vectors, statistics):
    tally = replay_procedural(vectors | {"stats": [statistics]})
    assert tally.ok, tally.table()
    assert not replay_procedural({}).ok, "nothing checked is no success"


def flip(text: str, at: int) -> str:
    return text[:at] + "10"[int(text[at])] + text[at + 1:]


def other_input(record: dict) -> None:
    first = record["parsed"]["inputs"][0]
    first[0] = first[0] % 9 + 1


POISONS = {  # name: what goes wrong in record 1, and the word that the failure must say
    "id": (lambda r: r["ids"].__setitem__(3, r["ids"][3] + 1), "ids[3]"),
    "target": (lambda r: r["targets"].__setitem__(0, 77), "targets[0]"),
    "mask": (lambda r: r.update(mask=flip(r["mask"], 2)), "mask[2]"),
    "attention": (lambda r: r.update(attn=flip(r["attn"], 0)), "attn[0]"),
    "output": (lambda r: r["parsed"]["output"].__setitem__(0, 98), "output[0]"),
    "input": (other_input, ""),
    "missing output": (lambda r: r["parsed"].pop("output"), "cannot be replayed"),
    "task": (lambda r: r["parsed"].update(task="sort"), "task"),
}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_record_is_caught_and_named(vectors, section, poison):
    spoil, says = POISONS[poison]
    poisoned = copy.deepcopy(vectors)
    spoil(poisoned["samples"][section]["records"][1])
    tally = replay_procedural(poisoned)
    assert tally.checked - tally.passed == len(tally.failures) == 1
    where, name, why = tally.failures[0]
    assert where == section and name.startswith("record 1 ") and says in why
    assert f"{section} {name}" in tally.table()


@pytest.mark.parametrize("field, value", [("separator", 99), ("pad", 0), ("vocab_size", 64)])
def test_a_poisoned_header_is_caught_and_named(vectors, field, value):
    poisoned = copy.deepcopy(vectors)
    poisoned["samples"]["set_L16_V100"][field] = value
    failures = replay_procedural(poisoned).failures
    assert failures[0][:2] == ("set_L16_V100", "header")
    assert all(where == "set_L16_V100" for where, *_ in failures)


def test_a_poisoned_count_is_caught_and_named(statistics):
    poisoned = copy.deepcopy(statistics)
    poisoned["first_token_freq"]["7"] += 1
    tally = replay_procedural({"stats": [poisoned]})
    failed = [(where, name) for where, name, _ in tally.failures]
    assert failed == [("stats set_L8_V100", "first_token_freq")]
    assert not replay_procedural({"stats": [statistics | {"task": "sorted"}]}).ok


@pytest.mark.slow
def test_full_vectors():
    full = find_vectors("procedural")
    if full is None or ROOT in full.parents: pytest.skip("only the committed part is here")
    tally = replay_procedural(load_vectors(full))
    assert tally.ok, tally.table()


# the family

@pytest.mark.parametrize("op", PAPER_OPS + EXTRA_OPS)
def test_an_answer_is_that_of_its_op(op):
    "What a row shows behind its inputs is what the op makes of them, in both streams."
    streams = ["indexed"] if op in EXTRA_OPS else ["indexed", "official"]
    for stream in streams:
        task = create_task("procedural", tasks=[op], length=16, vocab_size=30, stream=stream)
        for x in task.examples(0, "train", 0, range(40)):
            given = [xs[0] if op == "delete" and i else xs for i, xs in enumerate(x.meta["inputs"])]
            rule = [task.config.rule] if op == "eca" else []
            assert x.ids[x.mask].tolist() == ops[op](*given, *rule) == x.meta["output"]
            assert x.meta["op"] == x.meta["task"] == op


def test_held_out_items_are_never_official():
    official = create_task("procedural", preset="official_set")
    ours = create_task("procedural", preset="paper_set_len64")
    assert official.sample(0, "eval").ids.tolist() == ours.sample(0, "eval").ids.tolist()
    assert official.sample(0, "train").ids.tolist() != ours.sample(0, "train").ids.tolist()
    assert official.sample(0, seed=43).ids.tolist() == official.sample(1, seed=42).ids.tolist()


def test_ops_are_mixed_evenly():
    rows = create_task("procedural", preset="smoke").examples(0, "train", 0, range(700))
    counts = Counter(x.meta["op"] for x in rows)
    assert counts.keys() == set(PAPER_OPS) and all(abs(n - 100) < 40 for n in counts.values())
    assert all(x.text.startswith(f"<{x.meta['op']}> ") and not x.mask[0] for x in rows)


def test_steps_end_in_the_answer():
    task = create_task("procedural", tasks=list(PAPER_OPS + EXTRA_OPS), length=10, vocab_size=20)
    for x in task.examples(0, "train", 0, range(100)):
        steps, answer = task.steps(x), [str(t) for t in x.meta["output"]]
        if x.meta["op"] in EXTRA_OPS:
            assert steps == []
        elif x.meta["op"] == "stack":
            assert steps[-1][1] == " ".join(answer) and len(steps) == 10
        else:
            assert [what for what, _ in steps] == [f"write {t}" for t in answer]
            assert len({place for _, place in steps}) == len(answer)   # no place is used twice


@pytest.mark.parametrize("config, says", [
    ({"tasks": ["sorted"]}, "'sort'"),
    ({"tasks": []}, "tasks is empty"),
    ({"length": 1}, "length=1: must be at least 2"),
    ({"rule": 256}, "rule=256: must be 0..255"),
    ({"digits": 19}, "digits=19: must be 1..18"),
    ({"max_length": 64}, "the smallest max_length that works is 129"),
    ({"tasks": ["addition"], "vocab_size": 8}, "addition needs at least 11"),
    ({"tasks": ["set", "sort"], "stream": "official"}, "exactly one op"),
    ({"tasks": ["eca"], "stream": "official"}, "exactly one op"),
    ({"lenght": 3}, "'length'"),
])
def test_refusals(config, says):
    with pytest.raises(InputError) as refused: create_task("procedural", config)
    assert says in str(refused.value) and "\n" not in str(refused.value)
