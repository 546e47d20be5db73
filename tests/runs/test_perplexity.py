"""Perplexity beside a plain loop: one row at a time, in float64, without padding."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pptrain.corpora import Corpus, Document, TextDataset, train_tokenizer
from pptrain.data import Example
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.measure import perplexity
from pptrain.vocab import TokenizerSpec

IDS = 300
LENGTHS = (1, 2, 3, 9, 17, 31, 32, 40, 64, 5, 1, 48)
MODELS = ("gpt2-2_2_32", "llama-tiny")      # learned positions, rotary ones


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    torch.manual_seed(0)
    adapter = HFCausalLMAdapter(HFModelConfig(request.param))
    model = adapter.create_prepretrain_model(TokenizerSpec(IDS))
    with torch.no_grad():                     # far from uniform, so that every token counts
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


def plain(model, rows) -> tuple[float, int]:
    "(nats, tokens): the log-probability of every token that carries loss, row after row."
    nats, tokens = 0.0, 0
    for row in rows:
        ids, labels = row["input_ids"], row["labels"]
        with torch.no_grad():
            logits = model(input_ids=ids[None])["logits"][0].double()
        for t in range(1, len(ids)):
            if labels[t] != -100:
                nats += (logits[t - 1].logsumexp(0) - logits[t - 1, labels[t]]).item()
                tokens += 1
    return nats, tokens


def documents_as_rows(masked: bool) -> list[dict[str, torch.Tensor]]:
    "Rows of very different length; where `masked`, some tokens, and all of one row, carry no loss."
    rng = np.random.default_rng(0)
    rows = []
    for n in LENGTHS:
        mask = rng.random(n) < 0.5 if masked else np.ones(n)
        if masked and n == 31:
            mask = np.zeros(n)
        rows.append(Example(rng.integers(IDS, size=n), mask).features())
    return rows


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_rows_of_any_length_in_batches_of_any_size(model, masked, batch_size):
    rows = documents_as_rows(masked)
    nats, tokens = plain(model, rows)
    found = perplexity(model, rows, batch_size)
    assert found["tokens"] == tokens
    assert math.isclose(found["loss"], nats / tokens, rel_tol=1e-5)
    assert math.isclose(found["perplexity"], math.exp(nats / tokens), rel_tol=1e-4)


SENTENCES = ("The cat sat.", "A naïve café — 12 € for a mat.", "So it goes, on and on and on.")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    "Documents shorter and longer than a block, in more bytes than characters."
    rng = np.random.default_rng(1)
    documents = []
    for i, count in enumerate((1, 40, 2, 1, 25, 3, 1, 60)):
        text = " ".join(SENTENCES[k] for k in rng.integers(3, size=count)) + f" {i}"
        documents.append(Document(text, f"{i}.txt"))
    return Corpus("mine", documents, documents[:5])


@pytest.mark.parametrize("count", [None, 1, 3])
def test_blocks_of_text_and_their_bytes(model, corpus, tmp_path, count):
    tokenizer = train_tokenizer(corpus, IDS, cache_dir=tmp_path)
    held = TextDataset(corpus, tokenizer, 32, "eval", cache_dir=tmp_path)
    assert held.tokens % 32 and held.blocks == held.tokens // 32      # the last block is cut short
    rows = held if count is None else held.repeat(count)
    nats, tokens = plain(model, [rows[i] for i in range(len(rows))])
    size = 0
    for i in range(len(rows)):
        predicted = rows[i]["input_ids"][1:].tolist()
        for name in tokenizer.convert_ids_to_tokens([t for t in predicted if t > 1]):
            size += len(name)                # in a byte-level alphabet, a letter is a byte
    found = perplexity(model, rows, batch_size=3)
    assert found["tokens"] == tokens == 31 * len(rows)
    assert math.isclose(found["loss"], nats / tokens, rel_tol=1e-5)
    # a character of several bytes may be cut by a block's edge: it counts where it begins
    assert abs(nats / math.log(2) / found["bits_per_byte"] - size) <= 2 * len(rows)


def test_all_of_a_split_is_in_the_blocks(corpus, tmp_path):
    tokenizer = train_tokenizer(corpus, IDS, cache_dir=tmp_path)
    held = TextDataset(corpus, tokenizer, 32, "eval", cache_dir=tmp_path)
    line = []
    for document in corpus.eval:
        line += [*tokenizer(document.text)["input_ids"], tokenizer.eos_token_id]
    want = [line[k:k + 32] for k in range(0, len(line) - 31, 32)]
    assert sorted(held[i]["input_ids"].tolist() for i in range(len(held))) == sorted(want)
