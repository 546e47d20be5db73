"""Does a warm-up teach a tiny model to look? Haystack accuracy of many arms and seeds at once.

    python bench/haystack.py --out runs/haystack --seconds 480        # a GPU, in slices
    python bench/haystack.py --out /tmp/toy --toy                     # a minute of CPU, to try it

Donors (GPT-2, 2 layers, 4 heads, width 16) learn a formal task; targets of the same shape receive
parts of them and learn `condattendstream_30` (Jiang et al. 2026): AdamW 1e-3, cosine, 500 steps of
warm-up, weight decay 1e-3. Arms of one seed share their first weights and their data. The state
lies in --out: the same command goes on where it was stopped. Writes rows.csv and card.json."""
from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import platform
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from pptrain.core import create_task
from pptrain.data import shuffled
from pptrain.data.streams import item_rngs
from pptrain.runs.many import ManyGPT2, many_losses, places_of, train_many
from pptrain.tasks.probes import draw_haystack, haystack_row
from pptrain.transfer import create_policy

BEGAN = time.time()
FULL = {"name": "reinitialize_embeddings", "embeddings": "mean", "positions": "copy"}
ATTENTION = {"name": "components", "keep": ["attn"]}
WITH_NORM = {"name": "components", "keep": ["attn", "attn_norm"]}
ARMS = {                     # arm → donor and policy
    "scratch": None,
    "set, attention": ("set", ATTENTION),
    "set, attention and its norm": ("set", WITH_NORM),
    "set, everything": ("set", FULL),
    "identity, attention": ("identity", ATTENTION),
    "dyck, everything": ("dyck", FULL),
    "shuffled dyck, everything": ("shuffled dyck", FULL),
    "set, attention shuffled within tensors": ("set", {"name": "layer_shuffled", "keep": ["attn"]}),
}
DONORS = {                   # donor → preset, steps, batch
    "set": ("procedural", "paper_set_len64", 8000, 64),
    "identity": ("procedural", "paper_identity_len64", 8000, 64),
    "dyck": ("dyck", "paper_k64", 500, 32),
    "shuffled dyck": ("dyck", "paper_k64", 500, 32),
}


def say(*words):
    print(f"[{time.time() - BEGAN:6.1f}]", *words, flush=True)


def fresh_model(vocab, positions, seed):
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=vocab, n_positions=positions, n_embd=16, n_layer=2, n_head=4,
                        resid_pdrop=0., embd_pdrop=0., attn_pdrop=0., bos_token_id=0,
                        eos_token_id=0, tie_word_embeddings=False)
    return GPT2LMHeadModel(config)


# rows, made in other processes: a chunk is the rows of some steps for every seed

def haystack_chunk(job):
    seeds, size, batch, first, count = job
    width = 2 * size + 3
    ids = np.zeros((count, len(seeds), batch, width), np.uint8)
    last = np.zeros((count, len(seeds), batch), np.int64)
    for n, seed in enumerate(seeds):
        rngs = item_rngs(seed, "train", 0, range(first * batch, (first + count) * batch))
        for place, rng in enumerate(rngs):
            row, _ = haystack_row(**draw_haystack(rng, size), size=size)
            ids[place // batch, n, place % batch, :len(row)] = row
            last[place // batch, n, place % batch] = len(row) - 1
    return ids, last[..., None]


def family_chunk(job):
    family, preset, control, seeds, batch, first, count = job
    made = []
    for seed in seeds:
        data = create_task(family, preset=preset, sequence_count=10**9).build_datasets(seed)
        rows = shuffled(data.train_dataset) if control else data.train_dataset
        examples = rows.batch(range(first * batch, (first + count) * batch))
        made.append((np.stack([x.ids for x in examples]), np.stack([x.mask for x in examples])))
    ids = np.stack([ids.reshape(count, batch, -1) for ids, _ in made], 1)
    mask = np.stack([mask.reshape(count, batch, -1) for _, mask in made], 1)
    return ids.astype(np.int32), places_of(torch.tensor(mask)).numpy()


class Chunks:
    "Batches by step, some chunks ahead."
    def __init__(self, pool, function, job, per, repeat, device):
        self.pool, self.function, self.job, self.per = pool, function, job, per
        self.repeat, self.device = repeat, device
        self.ahead, self.next, self.now = deque(), None, (None, None)

    def __call__(self, step):
        chunk = step // self.per
        if self.next is None:
            self.next = chunk
        while len(self.ahead) < 28:
            job = (*self.job, self.next * self.per, self.per)
            self.ahead.append((self.next, self.pool.apply_async(self.function, (job,))))
            self.next += 1
        if self.now[0] != chunk:
            number, later = self.ahead.popleft()
            assert number == chunk
            self.now = chunk, [torch.from_numpy(a).to(self.device) for a in later.get()]
        ids, places = (a[step % self.per] for a in self.now[1])
        return (ids.long().repeat(self.repeat, 1, 1), places.long().repeat(self.repeat, 1, 1))


def accuracy(many, held):
    "Share of right first guesses of every model, in pieces that fit."
    ids, places = held
    shares = []
    with torch.no_grad():
        for start in range(0, ids.shape[1], 500):
            piece = slice(start, start + 500)
            shares.append(many_losses(many, ids[:, piece], places[:, piece])[1])
    return torch.stack(shares).mean(0)


def donors_of(name, settings, pool):
    "Trained donors of every seed; their share of right tokens on held-out rows."
    family, preset, steps, batch = DONORS[name]
    task = create_task(family, preset=preset, eval_sequence_count=64)
    example = task.sample(0, "eval")
    steps, batch = (6, 4) if settings.toy else (steps, batch)
    vocab = task.tokenizer_spec().vocab_size
    many = ManyGPT2([fresh_model(vocab, max(len(example), 130), 100 + seed)
                     for seed in settings.seeds]).to(settings.device)
    control = name.startswith("shuffled")
    per = 2 if settings.toy or family == "dyck" else 25
    job = (family, preset, control, settings.seeds, batch)
    batches = Chunks(pool, family_chunk, job, per, 1, settings.device)
    held = task.build_datasets(0).eval_dataset
    held = (shuffled(held) if control else held).batch(range(8 if settings.toy else 64))
    ids = torch.tensor(np.stack([x.ids for x in held])).expand(len(many), -1, -1)
    places = places_of(torch.tensor(np.stack([x.mask for x in held]))).expand(len(many), -1, -1)
    at = [tensor.to(settings.device) for tensor in (ids, places)]
    rows = train_many(many, batches, steps, lr=5e-4 if family == "dyck" else 1e-3,
                      schedule="constant", weight_decay=.1, every=max(steps // 8, 1),
                      look=lambda m, step: {"accuracy": accuracy(m, at)},
                      folder=settings.out / f"donor-{name}", until=settings.late)
    say(name, "step", rows[-1]["step"], "of", steps,
        [round(row["accuracy"], 3) for row in rows[-len(many):]])
    if rows[-1]["step"] < steps:
        raise SystemExit("stopped in time; the same command goes on")
    return many, rows


def targets(donors, settings):
    "A stack of every arm of every seed, arms first."
    models = []
    for start in settings.arms.values():
        for n, seed in enumerate(settings.seeds):
            model = fresh_model(256, 100, seed)
            if start is not None:
                donor, policy = start
                state = donors[donor].model(n).state_dict()
                report = create_policy(policy, seed=seed).apply_state_dict(state, model)
                assert report.loaded_parameter_count + len(report.filled_parameters)
            models.append(model)
    return ManyGPT2(models).to(settings.device)


def machine():
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": gpu, "torch": torch.__version__, "python": platform.python_version(),
            "cpus": multiprocessing.cpu_count(), "system": platform.platform()}


def main():
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--out", type=Path, required=True)
    reader.add_argument("--seconds", type=float, default=1e9, help="stop (and keep) after these")
    reader.add_argument("--seeds", default="1,2,3,4,5,6")
    reader.add_argument("--steps", type=int, default=10_000)
    reader.add_argument("--batch", type=int, default=500)
    reader.add_argument("--size", type=int, default=30)
    reader.add_argument("--workers", type=int, default=14)
    reader.add_argument("--toy", action="store_true")
    s = reader.parse_args()
    s.seeds = [int(word) for word in s.seeds.split(",")]
    s.arms, s.device = ARMS, "cuda" if torch.cuda.is_available() else "cpu"
    s.late = lambda: time.time() - BEGAN > s.seconds
    if s.toy:
        s.seeds, s.steps, s.batch, s.size, s.workers = [1, 2], 30, 16, 8, 2
    s.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    with multiprocessing.get_context("spawn").Pool(s.workers) as pool:
        donors, rows = {}, []
        for name in DONORS:
            donors[name], history = donors_of(name, s, pool)
            rows += [{"stage": "donor", "arm": name, "seed": s.seeds[row["model"]], **row}
                     for row in history]
        many = targets(donors, s)
        say(len(many), "targets")
        ids, last = haystack_chunk((s.seeds, s.size, 20 if s.toy else 2000, 10**6, 1))
        held = [torch.from_numpy(a[0]).long().repeat(len(s.arms), 1, 1).to(s.device)
                for a in (ids, last)]
        per = 5 if s.toy else 25
        batches = Chunks(pool, haystack_chunk, (s.seeds, s.size, s.batch), per, len(s.arms),
                         s.device)

        def look(stack, step):
            found = accuracy(stack, held)
            by_arm = found.view(len(s.arms), -1).cpu()
            say("step", step, {a: [round(float(x), 2) for x in by_arm[n]]
                               for n, a in enumerate(s.arms)})
            return {"accuracy": found}
        history = train_many(many, batches, s.steps, lr=1e-3, warmup=500, weight_decay=1e-3,
                             every=10 if s.toy else 250, look=look, folder=s.out / "targets",
                             until=s.late)
        pool.terminate()
    names = list(s.arms)
    rows += [{"stage": "haystack", "arm": names[row["model"] // len(s.seeds)],
              "seed": s.seeds[row["model"] % len(s.seeds)], **row} for row in history]
    with (s.out / "rows.csv").open("w", newline="") as file:
        fields = ["stage", "arm", "seed", "step", "train_loss", "accuracy"]
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    asked = {name: getattr(s, name) for name in ("seeds", "steps", "batch", "size")}
    card = {**machine(), "settings": asked, "donors": DONORS, "arms": ARMS,
            "step_reached": history[-1]["step"],
            "seconds_of_this_slice": round(time.time() - BEGAN, 1)}
    (s.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    say("written", s.out / "rows.csv")


if __name__ == "__main__":
    main()
