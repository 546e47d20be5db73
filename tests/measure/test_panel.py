"""The data panel against slow references, and the same rows through every door."""
from __future__ import annotations

import math
import zlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from pptrain import InputError, create_task
from pptrain.corpora import Corpus, TextDataset, train_tokenizer
from pptrain.corpora.sources import Document
from pptrain.measure import data_panel
from pptrain.measure.panel import gzip_ratio, lz_bits, ngram_entropy, panel_figure, zipf_slope


def values(sources, **more):
    table = data_panel(sources, **more)
    assert list(table.columns) == ["source", "statistic", "value"]
    return table.set_index(["source", "statistic"]).value


def phrases(tokens):
    "Lempel and Ziv's parsing of 1978 as their paper says it: the shortest string not seen yet."
    seen, phrase = set(), ()
    for token in tokens:
        phrase += (token,)
        if phrase not in seen:
            seen.add(phrase)
            phrase = ()
    return len(seen)


@pytest.mark.parametrize("kinds", [1, 2, 9, 300, 70_000])
def test_compression_against_its_definition(kinds):
    ids = np.random.default_rng(kinds).integers(0, kinds, 3000)
    count = phrases(ids.tolist())
    assert lz_bits(ids) == pytest.approx(count * math.log2(count) / 3000)
    width = 1 if kinds <= 256 else 2 if kinds <= 2**16 else 4
    raw = b"".join(int(i).to_bytes(width, "little") for i in ids)
    assert gzip_ratio(ids) == pytest.approx(len(zlib.compress(raw, 9)) / len(raw))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_entropies_against_the_chain_rule(n):
    "H(last | before) = H(all n) − H(first n − 1), over the same windows."
    draws = np.random.default_rng(n)
    rows = [draws.integers(0, 4, size) for size in (50, 3, 2, 1, 77)]
    windows = [tuple(row[i:i + n]) for row in rows for i in range(len(row) - n + 1)]

    def bits(grams):
        shares = np.array(list(Counter(grams).values())) / len(grams)
        return -(shares * np.log2(shares)).sum()
    wanted = bits(windows) - (bits([window[:-1] for window in windows]) if n > 1 else 0)
    assert ngram_entropy(rows, n) == pytest.approx(wanted)


def test_a_law_of_frequencies_is_found_back():
    for slope in (.7, 1., 1.3):
        counts = (20_000 / np.arange(1, 300) ** slope).astype(int)
        ids = np.repeat(np.arange(len(counts)), counts)
        assert zipf_slope(ids) == pytest.approx(-slope, abs=.02)


@pytest.mark.parametrize("family", ["probes", "lime", "procedural", "repetition"])
def test_the_same_rows_say_the_same_through_every_door(family):
    "A task, its dataset, padded rows of anybody's, tensors or lists."
    task = create_task(family, preset="smoke")
    bundle = task.build_datasets(seed=4)
    batch = bundle.data_collator([bundle.train_dataset[i] for i in range(20)])
    tensors = [{name: column[i] for name, column in batch.items()} for i in range(20)]
    lists = [{name: column.tolist() for name, column in row.items()} for row in tensors]
    subset = torch.utils.data.Subset(bundle.train_dataset, range(20))
    doors = {"task": task, "bundle": bundle, "dataset": bundle.train_dataset, "tensors": tensors,
             "lists": lists, "subset": subset}
    panel = values(doors, items=20, seed=4).unstack(0)
    own = [name for name in panel.index if name != "distinct rules"]   # facts that rows lack
    for door in doors:
        assert np.allclose(panel.loc[own, door], panel.loc[own, "task"], equal_nan=True), door


def test_lengths_share_and_rules():
    rows = [
        {"input_ids": [1, 2, 3, 0], "labels": [-100, 2, 3, -100], "attention_mask": [1, 1, 1, 0]},
        {"input_ids": [4, 5, 0], "labels": [-100, 5, -100], "attention_mask": [1, 1, 0]}]
    panel = values({"rows": rows})["rows"]
    assert (panel["tokens"], panel["mean length"], panel["longest"]) == (5, 2.5, 3)
    assert panel["supervised share"] == pytest.approx(3 / 5) and panel["distinct tokens"] == 5
    assert math.isnan(panel["distinct rules"]) and panel["distinct rows"] == 1
    networks = create_task("random_rnn", preset="smoke", networks=7)
    assert values({"a": networks}, items=100)["a", "distinct rules"] == 7
    assert values({"a": create_task("procedural", preset="smoke")})["a", "distinct rules"] == 7


def test_padding_carries_nothing_whatever_labels_say():
    ids = [1, 2, 3, 0, 0]
    for labels in ({}, {"labels": ids}):
        rows = [{"input_ids": ids, "attention_mask": [1, 1, 1, 0, 0], **labels}]
        assert values({"rows": rows})["rows", "supervised share"] == 1


def test_a_table_of_pandas_has_rows():
    rows = [{"input_ids": [1, 2, 3], "op": "a"}, {"input_ids": [4, 5], "op": "b"}]
    panel = values({"rows": rows, "table": pd.DataFrame(rows)}).unstack(0)
    assert np.allclose(panel["rows"], panel["table"], equal_nan=True)


def test_wide_ids_are_not_cut():
    draws = np.random.default_rng(0).integers(2**30, size=500)
    assert gzip_ratio(draws * 2**32) > .4      # half of the bytes are as good as random


def test_every_family_beside_text(tmp_path):
    text = "\n".join(f"{i} squared is {i * i}, and {i + 1} comes next." for i in range(400))
    corpus = Corpus("squares", [Document(text, "a")], [Document(text[:500], "b")])
    blocks = TextDataset(corpus, train_tokenizer(corpus, 300), 32)
    sources = {name: create_task(name, preset="smoke") for name in ("dyck", "lime", "nca")}
    table = data_panel({**sources, "text": blocks, "bytes": corpus}, items=48)
    assert table.groupby("source").size().eq(15).all() and table.value.notna().mean() > .95
    assert panel_figure(table).figure.data
    panel = table.set_index(["source", "statistic"]).value
    assert panel["bytes", "longest"] == 256 and panel["bytes", "supervised share"] == 1
    assert panel["bytes", "distinct tokens"] == len(set((text + "\n").encode()[:48 * 256]))


@pytest.mark.parametrize("wrong", [
    None, {}, [], 3, {"a": None}, {"a": "dyck"}, {"a": []}, {"a": [3]}, {"a": ["text"]},
    {"a": [[1, 2]]}, {"a": [{}]}, {"a": {"input_ids": [1]}}, {"a": [{"input_ids": []}]},
    {"a": [{"input_ids": [1, 2], "labels": [1]}]}, {"a": [{"input_ids": [1.5, 2]}]},
    {"a": [{"input_ids": ["x"]}]}, {"a": [{"input_ids": None}]}, {"a": [{"input_ids": [[1, 2]]}]},
    {"a": [{"input_ids": [-1, 2]}]}, {"a": [{"input_ids": [1, 2], "attention_mask": [1]}]}])
def test_what_holds_no_rows_is_refused(wrong):
    with pytest.raises(InputError) as refusal:
        data_panel(wrong)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("items", [0, -1, 2.5, "3", True, None])
def test_a_number_of_items_is_a_number(items):
    with pytest.raises(InputError, match="^items="):
        data_panel({"a": create_task("dyck", preset="smoke")}, items=items)
