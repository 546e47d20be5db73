"""Does packing save time? Tokens a second through a model, one document a row and packed.

    python bench/packing.py

Documents of two families in the papers' settings, batches of 32 documents, in rows as long as the
longest document may be, twice and four times as long. A GPT-2 of two layers of width 64, forward
and backward, on one thread; collating is timed with it. Rounds of both ways alternate, the quickest
counts. Prints a table and writes bench/results/packing-<machine>.json.
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path

import card
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from pptrain.core import create_task
from pptrain.data.packing import PackCollate

PRESETS = {"simpler_tasks": "paper_set_1m", "lime": "paper_mixed_5m"}
DOCUMENTS, BATCHES, ROUNDS = 32, 2, 3


def step(model, batch) -> float:
    "CPU-seconds of a forward and a backward pass."
    start = time.thread_time()
    model.zero_grad()
    model(**batch).loss.backward()
    return time.thread_time() - start


def measure(family: str, size: int) -> dict:
    "Both ways over the same documents, in rows of `size` places where packed."
    task = create_task(family, preset=PRESETS[family])
    data = task.build_datasets(seed=1)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(task.vocab), n_positions=size, n_layer=2,
                                       n_embd=64, n_head=4, bos_token_id=0, eos_token_id=0))
    packed = PackCollate(data.data_collator, size, task.vocab.spec().pad_token_id)
    rows = [data.train_dataset.__getitems__(range(i * DOCUMENTS, (i + 1) * DOCUMENTS))
            for i in range(BATCHES)]
    wide = [data.data_collator(each) for each in rows]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in wide)
    narrow = [packed.with_mask(each) for each in rows]
    filled = {"one a row": tokens / sum(batch["input_ids"].numel() for batch in wide),
              "packed": tokens / sum(batch["input_ids"].numel() for batch in narrow)}
    ways = {"one a row": data.data_collator, "packed": packed}
    best = dict.fromkeys(ways, float("inf"))
    collating = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for way, collate in ways.items():
            start = time.thread_time()
            batches = [collate(each) for each in rows]
            spent = time.thread_time() - start
            collating[way] = min(collating[way], spent)
            best[way] = min(best[way], spent + sum(step(model, batch) for batch in batches))
    return {"family": family, "places": size,
            **{f"{way}, {name}": value for way in ways for name, value in {
                "filled": round(filled[way], 3),
                "collate_us_a_document": round(1e6 * collating[way] / BATCHES / DOCUMENTS, 1),
                "tokens_per_cpu_second": round(tokens / best[way])}.items()},
            "times": round(best["one a row"] / best["packed"], 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=card.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for family in PRESETS:
        longest = create_task(family, preset=PRESETS[family]).config.max_length
        for size in (longest, 2 * longest, 4 * longest):
            rows.append(measure(family, size))
            print(rows[-1], flush=True)
    facts = {"transformers": transformers.__version__, "documents": DOCUMENTS, "rows": rows}
    card.keep("packing", card.machine() | facts, options.out)


if __name__ == "__main__":
    main()
