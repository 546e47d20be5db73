"""What each control keeps, and what it takes away, as laws; the seeds are fixed."""
from __future__ import annotations

import functools
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency, chisquare

from pptrain import create_task, registered_tasks
from pptrain.data import create_control
from pptrain.measure import data_panel

pytestmark = pytest.mark.slow

FAMILIES = [card.name for card in registered_tasks()
            if (card.config_class or type).__module__.startswith("pptrain.tasks.")]
each_family = pytest.mark.parametrize("family", FAMILIES)
CONTROLS = ("shuffled", "random_tokens", "unigram_noise", "ngram_null")
BOUND = 1e-4        # p below it: the law that was promised is not that of the rows
ROWS = 256
SETTINGS = {"nca": {"sequence_count": ROWS}, "random_rnn": {"networks": 1}}
APART = {"repetition": 5}    # how far apart the tokens are that know of each other


def task_of(family):
    return create_task(family, preset="smoke", **SETTINGS.get(family, {}))


def rows_of(family):
    return task_of(family).build_datasets(seed=3).train_dataset


def attended(row):
    "The tokens of a row, padding apart."
    attend = np.ones(len(row)) if row.attend is None else row.attend
    return row.ids[np.flatnonzero(attend)]


@functools.cache
def lines(family, control=None, **options):
    "The tokens of the first rows of a family, or of a control over it."
    rows = rows_of(family)
    view = rows if control is None else create_control(control, **options)(rows)
    return [attended(row) for row in view.batch(range(ROWS))]


@functools.cache
def counted(family):
    "The rows whose tokens the controls count: the first 512 of the training stream."
    rows = rows_of(family)
    return [attended(row) for row in rows.examples(rows.seed, "train", 0, range(512))]


def groups_of(family, count=6):
    "Token → one of a few groups of tokens, about equally frequent."
    ids, sizes = np.unique(np.concatenate(counted(family)), return_counts=True)
    ends = (sizes.cumsum() - sizes / 2) / sizes.sum()
    table = np.zeros(ids.max() + 1, int)
    table[ids] = (ends * count).astype(int)
    return table


def dependence(family, rows):
    "The p value of: the next token does not depend on the one before."
    group = groups_of(family)
    gap = APART.get(family, 1)
    pairs = [np.stack([group[line[:-gap]], group[line[gap:]]]) for line in rows if len(line) > gap]
    table = np.zeros((6, 6))
    np.add.at(table, tuple(np.concatenate(pairs, 1)), 1)
    return chi2_contingency(table[table.sum(1) > 0][:, table.sum(0) > 0]).pvalue


def law_of(rows, shares):
    "The p value of: tokens are drawn by `shares`, rare ones taken together."
    counts = np.bincount(np.concatenate(rows), minlength=len(shares))
    assert not counts[shares == 0].any(), "a token that does not occur"
    expected = shares * counts.sum()
    frequent = expected >= 5
    seen = [*counts[frequent], counts[~frequent].sum()]
    wanted = [*expected[frequent], expected[~frequent].sum()]
    if wanted[-1] < 5:
        seen = seen[:-1]
        wanted = np.array(wanted[:-1]) * sum(seen) / sum(wanted[:-1])
    return chisquare(seen, wanted).pvalue


def frequencies(family):
    counts = np.bincount(np.concatenate(counted(family)))
    return counts / counts.sum()


@each_family
def test_the_original_has_an_order_to_lose(family):
    assert dependence(family, lines(family)) < 1e-6


@each_family
def test_shuffled_keeps_the_tokens_and_puts_them_anywhere(family):
    """As many tokens stay in their place as a random order leaves there: the mean and the spread
    of that number are known (Hoeffding 1951)."""
    stayed = mean = variance = 0.0
    for before, after in zip(lines(family), lines(family, "shuffled")):
        assert sorted(before) == sorted(after)
        equal = (before[:, None] == before).astype(float)
        rest = equal - equal.mean(0) - equal.mean(1)[:, None] + equal.mean()
        stayed += (before == after).sum()
        mean += equal.sum() / len(before)
        variance += (rest ** 2).sum() / max(len(before) - 1, 1)
    assert abs(stayed - mean) < 4 * variance ** .5, (stayed, mean, variance ** .5)


@each_family
def test_unigram_noise_keeps_frequencies_and_no_order(family):
    rows = lines(family, "unigram_noise")
    assert law_of(rows, frequencies(family)) > BOUND
    assert dependence(family, rows) > BOUND


@each_family
def test_random_tokens_are_even_and_without_order(family):
    rows, shares = lines(family, "random_tokens"), frequencies(family)
    assert law_of(rows, (shares > 0) / (shares > 0).sum()) > BOUND
    assert dependence(family, rows) > BOUND


def grams(rows, n):
    "Context of `n - 1` tokens → how often each token follows."
    table = defaultdict(Counter)
    for line in (line.tolist() for line in rows):
        for end in range(n, len(line) + 1):
            *context, last = line[end - n:end]
            table[tuple(context)][last] += 1
    return table


@each_family
@pytest.mark.parametrize("n", [2, 3])
def test_an_ngram_null_follows_what_was_counted(family, n):
    "Each token by the frequencies behind the same context, summed over contexts."
    wanted, drawn = grams(counted(family), n), grams(lines(family, "ngram_null", n=n), n)
    distance = freedom = 0.0
    for context, seen in drawn.items():
        if context not in wanted:
            continue        # it never went on in the rows that were counted
        total, shares = seen.total(), wanted[context]
        assert set(seen) <= set(shares), "what never followed follows"
        expected = np.array([shares[token] / shares.total() * total for token in shares])
        found = np.array([seen[token] for token in shares])
        if len(shares) > 1 and expected.min() >= 5:
            distance += ((found - expected) ** 2 / expected).sum()
            freedom += len(shares) - 1
    if freedom:
        assert chi2.sf(distance, freedom) > BOUND, (distance, freedom)


@each_family
def test_a_bigram_null_forgets_the_token_before(family):
    "Given one token, the next does not depend on the one before; chi-square over all contexts."
    group, distance, freedom = groups_of(family), 0.0, 0
    tables = defaultdict(lambda: np.zeros((6, 6)))
    for line in lines(family, "ngram_null", n=2):
        for first, middle, last in zip(line, line[1:], line[2:]):
            tables[middle][group[first], group[last]] += 1
    for table in tables.values():
        table = table[table.sum(1) > 0][:, table.sum(0) > 0]
        if min(table.shape, default=0) < 2 or np.outer(table.sum(1), table.sum(0)).min() < (
                5 * table.sum()):
            continue
        result = chi2_contingency(table, correction=False)
        distance, freedom = distance + result.statistic, freedom + result.dof
    assert not freedom or chi2.sf(distance, freedom) > BOUND, (distance, freedom)


@each_family
def test_frozen_rows_are_few_and_held_out_ones_as_they_were(family):
    bundle = task_of(family).build_datasets(seed=3)
    view = create_control("frozen", rows=5)(bundle.train_dataset)
    texts = [row.text for row in view.batch(range(40))]
    assert texts == [row.text for row in bundle.train_dataset.batch(range(5))] * 8
    held = create_control("frozen", rows=5)(bundle.eval_dataset)
    assert [row.text for row in held.batch(range(12))] == [
        row.text for row in bundle.eval_dataset.batch(range(12))]
    panel = data_panel({"frozen": view}, items=40).set_index("statistic").value
    assert panel["distinct rows"] == pytest.approx(len(set(texts)) / 40)


@each_family
@pytest.mark.parametrize("control", CONTROLS)
def test_seeds_splits_and_epochs_are_worlds_of_their_own(family, control):
    task, seen = task_of(family), []
    for seed in (3, 4):
        bundle = task.build_datasets(seed)
        for data in (bundle.train_dataset, bundle.eval_dataset):
            seen.append([row.text for row in create_control(control)(data).batch(range(8))])
        again = create_control(control)(bundle.train_dataset)
        again.set_epoch(1)
        seen.append([row.text for row in again.batch(range(8))])
    assert len(set(map(tuple, seen))) == len(seen)


@each_family
def test_the_panel_orders_them_by_what_they_keep(family):
    "Original, shuffled, noise, even tokens: what is kept is equal, what is lost is lost."
    rows = rows_of(family)
    views = {name: create_control(name)(rows) for name in CONTROLS}
    panel = data_panel({"original": rows, **views}, items=ROWS)
    value = panel.set_index(["source", "statistic"])["value"]
    for name in views:
        for same in ("items", "tokens", "mean length", "longest", "supervised share"):
            assert value[name, same] == value["original", same], (name, same)
    one = "entropy, 1 token"
    assert value["shuffled", one] == pytest.approx(value["original", one], abs=1e-9)
    assert value["unigram_noise", one] == pytest.approx(value["original", one], abs=.1)
    assert value["random_tokens", one] >= value["unigram_noise", one] - .01
    assert value["original", "gzip ratio"] < value["random_tokens", "gzip ratio"]
