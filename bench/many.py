"""Ten small models at once against one after the other: losses and speed.

    python bench/many.py --steps 50 --out bench/results/many-vm.json

GPT-2s of 2 layers, 4 heads and width 16, and a hand-written module; the same AdamW and batches on
both sides, one thread. Prints a row a kind: largest difference of a loss, seconds, ratio."""
from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from pptrain.runs.many import stack_models, train_many


class Written(nn.Module):
    "Every token sees the mean of those before it, twice."
    def __init__(self, vocab=128, width=16):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.norms = nn.ModuleList(nn.LayerNorm(2 * width) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(2 * width, 64) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(64, width) for _ in range(2))
        self.head = nn.Linear(width, vocab)

    def forward(self, ids):
        x = self.embed(ids)
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        for norm, up, down in zip(self.norms, self.up, self.down):
            x = x + down(F.gelu(up(norm(torch.cat([x, x.cumsum(1) / count], -1)))))
        return self.head(x)


def model(kind, seed):
    torch.manual_seed(seed)
    if kind == "hand-written":
        return Written()
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=128, n_positions=32, n_embd=16, n_layer=2, n_head=4, resid_pdrop=0.,
        embd_pdrop=0., attn_pdrop=0., bos_token_id=0, eos_token_id=0))


def batch_of(seed, step, rows, length=19):
    draw = torch.Generator().manual_seed(1000 * seed + step)
    return torch.randint(0, 128, (rows, length), generator=draw)


def one_by_one(kind, count, steps, rows):
    losses = torch.zeros(steps, count)
    began = time.perf_counter()
    for seed in range(count):
        own = model(kind, seed)
        optimizer = torch.optim.AdamW(own.parameters(), lr=3e-3, weight_decay=0.)
        for step in range(steps):
            ids = batch_of(seed, step, rows)
            out = own(ids)
            logits = getattr(out, "logits", out)[:, -2]
            loss = F.cross_entropy(logits, ids[:, -1])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(own.parameters(), 1.)
            optimizer.step()
            losses[step, seed] = loss.detach()
    return losses, time.perf_counter() - began


def at_once(kind, count, steps, rows):
    places = torch.full((count, rows, 1), 18)

    def batches(step):
        return torch.stack([batch_of(seed, step, rows) for seed in range(count)]), places
    began = time.perf_counter()
    many = stack_models([model(kind, seed) for seed in range(count)])
    found = train_many(many, batches, steps, lr=3e-3, schedule="constant", every=1)
    losses = torch.tensor([row["train_loss"] for row in found]).view(steps, count)
    return losses, time.perf_counter() - began


def main():
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--steps", type=int, default=50)
    reader.add_argument("--models", type=int, default=10)
    reader.add_argument("--rows", type=int, nargs="+", default=[8, 32, 128])
    reader.add_argument("--out", type=Path)
    s = reader.parse_args()
    torch.set_num_threads(1)
    table = []
    for kind in ("gpt2", "hand-written"):
        one_by_one(kind, 1, 3, 8), at_once(kind, 2, 3, 8)
        for rows in s.rows:
            alone, slow = one_by_one(kind, s.models, s.steps, rows)
            stacked, fast = at_once(kind, s.models, s.steps, rows)
            table.append({"kind": kind, "rows": rows, "steps": s.steps, "models": s.models,
                          "largest_difference": float((alone - stacked).abs().max()),
                          "seconds_one_by_one": round(slow, 2), "seconds_at_once": round(fast, 2),
                          "times_as_fast": round(slow / fast, 2)})
            print(table[-1], flush=True)
    if s.out:
        card = {"torch": torch.__version__, "machine": platform.platform(), "threads": 1}
        s.out.write_text(json.dumps({"card": card, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
