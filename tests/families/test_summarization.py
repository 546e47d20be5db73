"""summarization: poisoned vectors are caught and named, official streams come back."""
from __future__ import annotations

import copy
import json
import random
from collections import Counter

import pytest
from conftest import ROOT

from pptrain.core import create_task, registered_presets, registered_task
from pptrain.errors import InputError
from pptrain.parity import find_vectors, load_vectors
from pptrain.tasks import summarization
from pptrain.tasks.summarization import (
    MARK_RULES, STEP_TASKS, nonsense_words, reader_input, replay_stats,
)
from pptrain.tasks.t5 import t5_cut

FOLDER = ROOT / "tests" / "vectors" / "summarization"
SECTIONS = ["single", "composite", "composite_edge", "step", "reader", "pipeline"]
VECTORS, STATS = load_vectors(FOLDER / "dev.json"), load_vectors(FOLDER / "stats.json")
PRESETS = [p.name for p in registered_presets("summarization")]
parity = registered_task("summarization").replay


def first(section: str, wanted: str) -> int:
    "Number of the first record of a section whose task, ref or edge is `wanted`."
    named = (tuple(r.get(key) for key in ("task", "ref", "edge")) for r in VECTORS[section])
    return next(n for n, names in enumerate(named) if wanted in names)


def set_at(section: str, n: int, path: list, value):
    "A change: the leaf at `path` of record `n` becomes `value`, or `value(old)`."
    def change(vectors):
        *way, last = path
        place = vectors[section][n] if isinstance(n, int) else vectors[section]
        for step in way: place = place[step]
        place[last] = value(place[last]) if callable(value) else value
    return change


QUOTED, PARA, SHUFFLED = (first("single", t) for t in (
    "CopyQuoted", "ParaphraseWords", "CopyKeywordMultipleSentencesShuffled"))
REORDER, NEXT, MASK = (first("step", t) for t in STEP_TASKS)
POISONS = {
    "before": ("single", 0, ["inputs", "before", 0], lambda s: s.replace("a", "b", 1)),
    "after": ("single", 3, ["inputs", "after", 1], lambda s: s[1:] + s[0]),
    "output": ("single", 5, ["output", 0], lambda s: s + " ."),
    "seed": ("single", 8, ["seed"], lambda s: s + 1),
    "task": ("single", 9, ["task"], "CopyQuoted"),
    "digest": ("single", 4, ["raw_sha16"], "0" * 16),
    "replaced": ("single", 6, ["inputs", "params", "edits", 0, "replaced"], "aaa"),
    "word": ("single", 7, ["inputs", "params", "edits", 0, "word"], lambda w: w + 1),
    "quote end": ("single", QUOTED, ["inputs", "params", "end"], lambda e: e + 1),
    "synonym": ("single", PARA, ["inputs", "params", "target"], lambda t: t[:-3] + "9__"),
    "order": ("single", SHUFFLED, ["inputs", "params", "order"], lambda o: o[::-1]),
    "call": ("single", PARA, ["trace", "modify", 0, 2], [99]),
    "late call": ("single", PARA, ["trace", "output", 0, 0], "randint"),
    "calls": ("single", QUOTED, ["trace", "para_calls"], lambda n: n + 1),
    "tasks": ("composite", 1, ["tasks"], lambda t: t[::-1]),
    "params": ("composite", 2, ["inputs", "params"], lambda p: p[::-1]),
    "outputs": ("composite", 3, ["output", 1], lambda lines: [*lines, "."]),
    "edge": ("composite_edge", 0, ["edge"], "period_overwritten"),
    "sentences": ("step", REORDER, ["inputs", "before"], lambda b: b[:-1]),
    "attempts": ("step", MASK, ["attempts"], lambda a: a + 1),
    "reorder": ("step", REORDER, ["inputs", "params", "order"], lambda o: o[::-1]),
    "pieces": ("step", NEXT, ["inputs", "params", "pieces"],
               lambda p: p.replace("▁ . ▁", "▁. ▁", 1)),
    "pieces in": ("step", NEXT, ["inputs", "params", "pieces_in"], 511),
    "actions": ("step", MASK, ["inputs", "params", "actions"],
                lambda a: a[:-1] + "MK"[a[-1] == "M"]),
    "random": ("step", MASK, ["inputs", "params", "random_tokens", 0], "aaa"),
    "span": ("step", MASK, ["inputs", "params", "span_start"], lambda s: s + 1),
    "total": ("step", MASK, ["inputs", "params", "pieces_total"], lambda s: s + 1),
    "source id": ("reader", 0, ["source_ids", 17], 9),
    "target id": ("reader", 2, ["target_ids", 0], 0),
    "ref": ("reader", 3, ["ref"], "composite"),
    "file": ("pipeline", 0, ["sha256_jsonl"], "0" * 64),
    "line": ("pipeline", 1, ["last_line"], lambda s: s.replace(".", "!", 1)),
    "mix": ("meta", None, ["mix16", 0], "CopyQuoted"),
    "words": ("meta", None, ["vocab", "last", 4], "aaa"),
    "hash": ("meta", None, ["vocab", "sha256_joined_by_space"], "0" * 64),
    "marker": ("meta", None, ["keywords", "JoinClauses", 4], "__d19__join_5__"),
    "length": ("meta", None, ["mean_sentlen"], 11),
}


@pytest.mark.parametrize("name", POISONS)
def test_poisoned_record_is_named(name):
    section, n, path, value = POISONS[name]
    vectors = {section: copy.deepcopy(VECTORS[section])}
    set_at(section, n, path, value)(vectors)
    tally = parity(vectors)
    assert [s for s, _, _ in tally.failures] == [section], tally.table()
    assert n is None or tally.failures[0][1].startswith(f"record {n} (")


def leaves(node, path=()):
    "Paths of all strings and numbers below a node."
    if not isinstance(node, (dict, list)): yield list(path)
    else:
        for key, below in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(below, (*path, key))


def spoil(value):
    "A little wrong."
    if isinstance(value, str): return value[:-1] + ("b" if value[-1:] == "a" else "a")
    return value + 1 if isinstance(value, (int, float)) else "?"


@pytest.mark.parametrize("section", SECTIONS)
def test_any_wrong_leaf_fails(section):
    "A random leaf of a random record, forty times."
    rng = random.Random(section)
    for _ in range(40):
        record = copy.deepcopy(rng.choice(VECTORS[section]))
        path = rng.choice(list(leaves(record)))
        set_at("x", 0, path, spoil)({"x": [record]})
        assert not parity({section: [record]}).ok, path


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_key_is_a_failed_record(section):
    for key in VECTORS[section][0]:
        record = {k: v for k, v in VECTORS[section][0].items() if k != key}
        tally = parity({section: [record]})
        assert (not tally.ok and tally.checked == 1) or key == "trace"


def test_clean_records_pass():
    tally = parity(VECTORS)
    assert tally.ok, tally.table()
    assert not any(parity(odd).ok for odd in ({}, {"singles": []}, {"single": "no list"}))


@pytest.mark.parametrize("task, fact, number", [
    ("SumOfNumbers", "words", "mean"), ("TopicSegregation", "lines", "std"),
    ("JoinClauses", "words", "max"), ("CopyQuoted", "words", "p95"),
])
def test_poisoned_statistic_fails(monkeypatch, task, fact, number):
    monkeypatch.setattr(replay_stats, "FRESH", 1000)
    entry = copy.deepcopy(STATS["single"][task])
    assert parity({"single": {task: entry}}).ok
    entry[fact][number] += 0.001
    tally = parity({"single": {task: entry}})
    assert [(s, r) for s, r, _ in tally.failures] == [(f"stats {task}", fact)]


@pytest.mark.slow
def test_every_leaf_of_the_statistics_counts(monkeypatch):
    "The mixture: one wrong number at a time."
    monkeypatch.setattr(replay_stats, "FRESH", 1000)
    family = summarization.Summarization(summarization.SummarizationConfig())
    seed, count = STATS["composite"]["seed"], STATS["composite"]["n_docs"]
    theirs = replay_stats.official_samples(family, seed, count)
    monkeypatch.setattr(replay_stats, "official_samples", lambda family, seed, n: theirs[:n])
    rng = random.Random(0)
    for path in rng.sample(list(leaves(STATS["composite"])), 8):
        entry = copy.deepcopy(STATS["composite"])
        set_at("x", 0, path, spoil)({"x": [entry]})
        assert not parity({"composite": entry}).ok, path


@pytest.mark.slow
def test_full_vectors():
    "The statistics have a chapter of their own, with a slow cell."
    full = find_vectors("summarization")
    if full is None or ROOT in full.parents: pytest.skip("only the committed part is here")
    tally = parity(load_vectors(full))
    assert tally.ok, tally.table()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_writes_pairs(name):
    "Source, separator, target, end; loss on target and end; the paper's form; listed ops."
    task = create_task("summarization", {"preset": name})
    for x in task.examples(1, "train", 0, range(20)):
        assert x.ids[-1] == task.vocab["<eos>"] and x.mask.sum() == len(x.target) + 1
        assert not x.mask[: len(x.source) + 1].any()
        assert set(json.loads(json.dumps(x.official))) == {"article_lines", "summary_lines"}
        assert x.meta["op"].split("+") == x.meta["tasks"]
        assert set(x.meta["tasks"]) <= set(task.op_names())
        assert json.dumps(x.meta)


def test_step_mix_is_in_thirds():
    "No length is favoured, for the task is drawn first and kept."
    task = create_task("summarization", preset="paper_step_tasks_100k", max_length=1100)
    counts = Counter(x.meta["task"] for x in task.examples(0, "train", 0, range(300)))
    assert set(counts) == set(STEP_TASKS) and min(counts.values()) > 70


def test_a_bound_keeps_the_tasks():
    task = create_task("summarization", max_length=160)
    loose = create_task("summarization")
    for i in range(60):
        x, y = task.sample(i), loose.sample(i)
        assert len(x) <= 160 and x.meta["tasks"] == y.meta["tasks"]


def test_official_stream_is_the_file():
    "Item i of seed s is the first sample after numpy.random.seed(s + i)."
    for record in VECTORS["composite"]:
        x = create_task("summarization", stream="official").sample(0, seed=record["seed"])
        assert x.official["article_lines"] == record["inputs"]["after"]
        assert x.official["summary_lines"] == [text for lines in record["output"] for text in lines]


def test_marks_never_meet():
    "A marker never goes over a marker nor over the last token; every answer is in the vocabulary."
    task = create_task("summarization")
    for i in range(300):
        x = task.sample(i)
        for line in x.meta["article"]: assert line[-1] == "." or line[-1].startswith("__d7__end")
        assert sum("_" in token for line in x.meta["article"] for token in line) >= 3
        assert task.vocab.text(x.source) == " ".join(x.official["article_lines"])
        assert task.vocab.text(x.target) == " ".join(x.official["summary_lines"]).lower()


def test_same_document_in_words_and_pieces():
    words = create_task("summarization", max_length=2048)
    pieces = create_task("summarization", max_length=2048, tokens="t5")
    for i in range(30):
        assert words.sample(i).official == pieces.sample(i).official
        assert len(reader_input(pieces.sample(i))["source_ids"]) == len(pieces.sample(i).source)


def test_pieces_of_every_word():
    counts = Counter(len(t5_cut("▁" + word)) for word in nonsense_words())
    assert counts == {1: 129, 2: 745, 3: 886, 4: 3240}


def test_every_task_alone_has_its_preset():
    choices = [p.config["tasks"] for p in registered_presets("summarization")]
    alone = [tasks[0] for tasks in choices if len(tasks) == 1]
    assert sorted(alone) == sorted([*MARK_RULES, *STEP_TASKS])


def test_a_relative_looks_like_its_parent():
    "Sliders and steps are the family's own, whatever it is called."
    class Nonsense(summarization.Summarization):
        name = "my_nonsense"

    config = summarization.SummarizationConfig(tasks=("CopyBulleted",), tasks_per_document=1)
    mine = Nonsense(config)
    ((task, line),) = mine.steps(mine.sample(0))
    assert task == "CopyBulleted" and line.startswith("__d8__bullet__ ")
    assert "sentences" in mine.knobs()


@pytest.mark.parametrize("config, says", [
    ({"tasks": ["CopyQuotes"]}, "did you mean 'CopyQuoted'"), ({"tasks": []}, "at least one"),
    ({"tasks_per_document": 0}, "1..16"), ({"tasks": ["CopyQuoted"] * 2}, "each once"),
    ({"sentences": 7}, "at least 5"), ({"words": 9}, "at least 5"),
    ({"word_spread": -1}, "at least 0"),
    ({"word_count": 0}, "word_count=0"), ({"tasks": STEP_TASKS}, "tokens='t5'"),
    ({"tasks": ["CopyQuoted", STEP_TASKS[1]], "tokens": "t5"}, "do not mix"),
    ({"tokens": "t6"}, "'t5'"),
    ({"tokens": "t5", "word_count": 5001}, "5000"), ({"loss": "some"}, "loss"),
    ({"max_length": 100}, "works is"),
    ({"stream": "official", "tasks": STEP_TASKS, "tokens": "t5"}, "one STEP task"),
    ({"wordcount": 3}, "'word_count'"),
    ({"preset": "paper_copy_quotd_100k"}, "copy_quoted"),
    ({"tasks": STEP_TASKS[:1], "tokens": "t5", "step_pieces": 9}, "step_pieces"),
])
def test_refusals(config, says):
    with pytest.raises(InputError) as told: create_task("summarization", config)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_loss_on_all():
    "The same tokens, and every one of them carries loss."
    bare, full = (create_task("summarization", loss=loss).sample(0) for loss in ("target", "all"))
    assert full.mask.all() and not bare.mask.all() and full.ids.tolist() == bare.ids.tolist()
