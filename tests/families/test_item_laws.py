"""What every item of a family obeys, whatever the settings: its law, told again in plain lists.

Hypothesis draws settings, seeds and addresses, the same ones in every run."""
from __future__ import annotations

import sys
from collections import Counter
from random import Random
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from pptrain.core import create_task
from pptrain.errors import InputError
from pptrain.tasks.simpler_tasks.t5_ids import EMPTY, NO, YES

SEEDS, SPLITS = st.integers(0, 2**62), st.sampled_from(["train", "eval"])
INDICES = st.lists(st.integers(0, 10**6), min_size=1, max_size=4)


def drawn(count):
    "How many settings a law sees, and that they are the same ones every time."
    return settings(max_examples=count, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck), phases=[Phase.generate])


def items(family, config, seed, split, indices):
    "Examples at these addresses; settings that are refused tell us nothing."
    try:
        task = create_task(family, config)
    except InputError:
        assume(False)
    assert task.config.max_length >= 1
    return task, task.examples(seed, split, 0, indices)


# repetition: ww, w and its twin, w and something congruent to it

REPETITIONS = st.fixed_dictionaries({
    "language": st.sampled_from(["simple", "paired", "modular"]), "repeat": st.integers(1, 20),
    "vocab_size": st.integers(2, 80), "frequencies": st.sampled_from(["zipf", "uniform"]),
    "modulus": st.integers(1, 30), "length": st.integers(2, 100),
    "loss": st.sampled_from(["all", "copies"]), "max_length": st.just(100)})


@drawn(150)
@given(REPETITIONS, SEEDS, SPLITS, INDICES)
def test_an_echo_follows_its_word(config, seed, split, indices):
    task, examples = items("repetition", config, seed, split, indices)
    k, size = config["repeat"], config["vocab_size"]
    for x in examples:
        ids, half = x.ids.tolist(), size // 2
        assert len(ids) == config["length"] and 0 <= min(ids) and max(ids) < size
        for t, id in enumerate(ids):
            is_echo = t // k % 2 == 1
            assert x.mask[t] == (is_echo or config["loss"] == "all")
            if config["language"] == "paired":
                assert (id >= half) == is_echo
            if not is_echo:
                continue
            word = ids[t - k]
            if config["language"] == "simple":
                assert id == word
            elif config["language"] == "paired":
                assert id == word + half
            else:
                assert id % config["modulus"] == word % config["modulus"]


@pytest.mark.parametrize("language", ["simple", "modular"])
def test_frequent_tokens_are_those_of_the_law(language):
    "1 / (rank + 2.7), in words and in their echoes alike: within five standard errors."
    config = dict(language=language, vocab_size=12, repeat=4, length=64, modulus=3, max_length=64)
    task = create_task("repetition", config)
    ids = np.stack([x.ids for x in task.examples(3, "train", 0, range(1500))])
    law = 1 / (np.arange(12) + 2.7)
    law /= law.sum()
    echo = np.arange(64) // 4 % 2 == 1
    for part in (ids[:, ~echo], ids[:, echo]):
        share = np.bincount(part.ravel(), minlength=12) / part.size
        assert (abs(share - law) < 5 * np.sqrt(law * (1 - law) / part.size)).all()


# rg: bytes of a question, a mark, bytes of its answer, an end

@pytest.fixture
def library(monkeypatch):
    "A stand-in for reasoning-gym: a data set that says a number in many signs."
    made = ModuleType("reasoning_gym")

    def create_dataset(name, seed=0, size=1, most=9):
        rng = Random(seed)
        signs = [rng.choice("a z é 🜁 \n ? 7".split(" ")) for _ in range(rng.randint(0, most))]
        text = "".join(signs)
        return [{"question": text, "answer": str(len(signs)), "metadata": {}}]

    class Options:
        def __init__(self, seed=0, size=1, most=9):
            pass
    made.create_dataset = create_dataset
    made.factory = SimpleNamespace(DATASETS={"signs": (list, Options)})
    monkeypatch.setitem(sys.modules, "reasoning_gym", made)


def test_questions_are_bytes_and_answers_carry_loss(library):
    @drawn(60)
    @given(st.integers(0, 20), st.sampled_from(["target", "all"]), SEEDS, SPLITS, INDICES)
    def law(most, loss, seed, split, indices):
        config = {"options": {"most": most}, "loss": loss, "max_length": 128}
        task, examples = items("rg:signs", config, seed, split, indices)
        for x in examples:
            ids = x.ids.tolist()
            at = ids.index(256)
            assert bytes(ids[:at]).decode() == x.meta["question"]
            assert bytes(ids[at + 1:-1]).decode() == x.meta["answer"] and ids[-1] == 257
            assert int(x.meta["answer"]) == len(x.meta["question"])
            assert x.mask.tolist() == [loss == "all" or t > at for t in range(len(ids))]
            assert x.meta["op"] == "signs" and set(ids[:at]) <= set(range(256))
    law()


# simpler_tasks: what each op means, told again in plain lists

def places(seq, query):
    "Where `query` begins in `seq`."
    return [i for i in range(len(seq) - len(query) + 1) if seq[i:i + len(query)] == query]


def last(order, x):
    "The last place of `x`, which counts where an order repeats it."
    return max(i for i, y in enumerate(order) if y == x)


MEANINGS = {     # op → whether an answer is right, as one says it
    "copy": lambda s, out: out == s, "reverse": lambda s, out: out == s[::-1],
    "duplicate": lambda s, out: out == [x for x in s for _ in range(2)],
    "first_char": lambda s, out: out == s[:1],
    "last_char": lambda s, out: out == s[-1:],
    "set": lambda s, out: sorted(out) == sorted(set(s)),
    "deduplicate": lambda s, out: out == [x for i, x in enumerate(s) if not i or s[i - 1] != x],
    "union": lambda a, b, out: sorted(out) == sorted({*a, *b}),
    "intersect": lambda a, b, out: sorted(out) == sorted({*a} & {*b}),
    "set_1_minus_2": lambda a, b, out: sorted(out) == sorted({*a} - {*b}),
    "set_2_minus_1": lambda a, b, out: sorted(out) == sorted({*b} - {*a}),
    "sort": lambda s, order, out: Counter(out) == Counter(s)
    and [last(order, x) for x in out] == sorted(last(order, x) for x in out),
    "search": lambda s, q, out: out == [YES if places(s, q) else NO],
}
SIZES = st.fixed_dictionaries({
    "symbols": st.integers(2, 60), "min_symbols": st.integers(4, 20),
    "max_symbols": st.integers(20, 40), "max_length": st.just(200),
    "loss": st.sampled_from(["target", "all"])})


@pytest.mark.parametrize("op", MEANINGS)
def test_an_answer_means_what_its_op_says(op):
    seen = []

    @drawn(40)
    @given(SIZES, SEEDS, SPLITS, INDICES)
    def law(sizes, seed, split, indices):
        task, examples = items("simpler_tasks", sizes | {"tasks": [op]}, seed, split, indices)
        for x in examples:
            lists = [list(map(int, xs)) for xs in x.meta["inputs"].values()]
            body = sum(map(len, lists)) + len(lists) - 1
            assert sizes["min_symbols"] <= body <= sizes["max_symbols"]
            out = list(map(int, x.meta["output"]))
            assert MEANINGS[op](*lists, [] if out == [EMPTY] else out), (lists, out)
            assert x.ids[-1] == task.vocab["<eos>"] and len(x) <= 200
            assert x.mask.sum() == (len(x) if sizes["loss"] == "all" else len(x.target) + 1)
            seen.append(len(lists[0]))
    law()
    assert len(set(seen)) > 3


# summarization: nonsense documents, and answers that are found in them

DOCUMENTS = st.fixed_dictionaries({
    "sentences": st.integers(6, 12), "sentence_spread": st.integers(0, 1),
    "words": st.integers(6, 12), "word_spread": st.integers(0, 1),
    "word_count": st.integers(5, 300), "max_length": st.just(2000),
    "tasks_per_document": st.just(1), "loss": st.sampled_from(["target", "all"])})
PLAIN = {        # task → the lines of the answer, from those of the document
    "CopyFirstSentence": lambda doc: doc[:1], "CopyLastSentence": lambda doc: doc[-1:]}


@pytest.mark.parametrize("name", ["CopyFirstSentence", "CopyLastSentence", "CopyBulleted",
                                  "CopyQuoted", "CopyKeywordMultipleSentencesSorted"])
def test_a_summary_is_found_in_its_document(name):
    @drawn(40)
    @given(DOCUMENTS, SEEDS, SPLITS, INDICES)
    def law(shape, seed, split, indices):
        task, examples = items("summarization", shape | {"tasks": [name]}, seed, split, indices)
        for x in examples:
            lines, spread = x.meta["article"], shape["sentence_spread"]
            assert abs(len(lines) - shape["sentences"]) <= spread
            words = {token for line in lines for token in line}
            assert x.meta["tasks"] == [name] == x.meta["op"].split("+")
            answer = " ".join(x.official["summary_lines"]).split()
            unmarked = [token for token in answer if "__" not in token]
            assert unmarked and set(unmarked) <= {w for word in words for w in (word, word.lower())}
            if name in PLAIN:
                want = [" ".join(line) for line in PLAIN[name](lines)]
                assert x.official["summary_lines"] == want
            assert x.ids[-1] == task.vocab["<eos>"]
            assert x.mask.sum() == (len(x) if shape["loss"] == "all" else len(x.target) + 1)
    law()
