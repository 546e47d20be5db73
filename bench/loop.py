"""Does our loop keep a GPU busy? Ours against a bare PyTorch loop: same model, same batches.

    python bench/loop.py                          # toy size, on a CPU, under a minute
    python bench/loop.py --device cuda --dtype bfloat16 --model 8_8_512 --vocab 10000 \\
                         --length 1025 --batch 32 --steps 60 --stock    # issue 9, on an H100

`ours` is `pptrain.runs.fit`'s Trainer with its callbacks, logging every `--logging` steps; `bare`
is forward, backward, clipping, AdamW and a schedule in ten lines; `stock` (with `--stock`) is
transformers' own Trainer with its defaults. Each round runs all of them, in turning order, on fresh
copies of one model. Time is taken over the last `--steps` steps of a run, between two waits for the
device, so starting up counts nowhere. Prints one JSON object: tokens per second (median over
rounds, and each round), and the ratios to `bare`.
"""
from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from transformers import (
    GPT2Config, GPT2LMHeadModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


class Rows(torch.utils.data.Dataset):
    "Random rows, made beforehand, in order."

    def __init__(self, vocab: int, length: int, count: int, distinct: int = 256):
        draw = torch.Generator().manual_seed(0)
        self.ids = torch.randint(vocab, (min(distinct, count), length), generator=draw)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        if not 0 <= i < self.count:
            raise IndexError(i)
        ids = self.ids[i % len(self.ids)]
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def stack(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def make_model(asked: argparse.Namespace) -> GPT2LMHeadModel:
    layers, heads, width = map(int, asked.model.split("_"))
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=asked.vocab, n_positions=asked.length, n_layer=layers, n_head=heads,
        n_embd=width, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0,
        eos_token_id=0))


class Clock:
    "Seconds between two steps; before each reading the device finishes what it was given."

    def __init__(self, asked: argparse.Namespace):
        self.device, self.first, self.last = asked.device, asked.warm, asked.warm + asked.steps
        self.start = self.seconds = 0.0

    def tick(self, step: int) -> None:
        if step in (self.first, self.last):
            if self.device == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            if step == self.first:
                self.start = now
            else:
                self.seconds = now - self.start


class Ticking(TrainerCallback):
    "Tells a clock how many steps were taken."

    def __init__(self, clock: Clock):
        self.clock = clock

    def on_step_end(self, args, state, control, **more):
        self.clock.tick(state.global_step)


def bare(model: torch.nn.Module, asked: argparse.Namespace, clock: Clock) -> float:
    "The loop that one writes by hand; batches are collated and copied as ours are."
    total, cuda = asked.warm + asked.steps, asked.device == "cuda"
    rows = Rows(asked.vocab, asked.length, total * asked.batch)
    loader = torch.utils.data.DataLoader(rows, asked.batch, collate_fn=stack, pin_memory=cuda,
                                         num_workers=asked.workers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    for step, batch in enumerate(loader, 1):
        batch = {name: value.to(asked.device, non_blocking=True) for name, value in batch.items()}
        del batch["attention_mask"]                     # of ones
        with torch.autocast(asked.device, torch.bfloat16, enabled=asked.dtype == "bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), asked.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        clock.tick(step)
    return float(loss)


def settings(asked: argparse.Namespace, folder: str) -> dict:
    "What `ours` and `stock` are told."
    return dict(
        output_dir=folder, max_steps=asked.warm + asked.steps, learning_rate=1e-4,
        per_device_train_batch_size=asked.batch, max_grad_norm=asked.clip,
        bf16=asked.dtype == "bfloat16", save_strategy="no", lr_scheduler_type="linear",
        disable_tqdm=True, use_cpu=asked.device == "cpu", report_to="none",
        dataloader_num_workers=asked.workers)


def ours(model: torch.nn.Module, asked: argparse.Namespace, clock: Clock) -> float:
    "The library's loop."
    from pptrain.data import DatasetBundle
    from pptrain.runs import RunConfig
    from pptrain.runs.fit import fit
    rows = Rows(asked.vocab, asked.length, (asked.warm + asked.steps) * asked.batch)
    with tempfile.TemporaryDirectory() as folder:
        logging = min(asked.logging, asked.warm + asked.steps)
        config = RunConfig(**settings(asked, folder), logging_steps=logging)
        loop = fit(model, DatasetBundle(rows, None, stack), config, {}, callbacks=[Ticking(clock)])
        tokens = loop.state.num_input_tokens_seen
    assert tokens == (asked.warm + asked.steps) * asked.batch * asked.length, tokens
    losses = [entry["loss"] for entry in loop.state.log_history if "loss" in entry]
    return losses[-1]


def stock(model: torch.nn.Module, asked: argparse.Namespace, clock: Clock) -> float:
    "transformers' Trainer as it comes."
    rows = Rows(asked.vocab, asked.length, (asked.warm + asked.steps) * asked.batch)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            **settings(asked, folder), logging_steps=asked.logging,
            train_sampling_strategy="sequential", include_num_input_tokens_seen="non_padding")
        trainer = Trainer(model, args, stack, rows, callbacks=[Ticking(clock)])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer.state.log_history[-1]["train_loss"]


def measure(asked: argparse.Namespace) -> dict:
    "Tokens per second of each contestant, round by round."
    contestants = {"bare": bare, "ours": ours} | ({"stock": stock} if asked.stock else {})
    tokens = asked.steps * asked.batch * asked.length
    model, speeds, losses = make_model(asked), {name: [] for name in contestants}, {}
    for number in range(asked.rounds):
        order = list(contestants)
        for name in order[number % len(order):] + order[:number % len(order)]:
            clock, copied = Clock(asked), copy.deepcopy(model).to(asked.device)
            losses[name] = round(contestants[name](copied, asked, clock), 4)
            speeds[name].append(tokens / clock.seconds)
            line = f"round {number + 1} {name:<6} {speeds[name][-1]:>12,.0f} tokens/s"
            print(line, file=sys.stderr, flush=True)
            del copied
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {name: round(median / medians["bare"], 4) for name, median in medians.items()}
    return {"tokens_per_second": {name: round(median) for name, median in medians.items()},
            "ratio_to_bare": ratios, "last_losses": losses,
            "rounds": {name: [round(value) for value in values] for name, values in speeds.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"],
                        help="bfloat16: autocast")
    parser.add_argument("--model", default="2_4_64", help="layers_heads_width of a GPT-2")
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--length", type=int, default=128, help="tokens of a row")
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of a run")
    parser.add_argument("--warm", type=int, default=5, help="steps before those")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clip", type=float, default=1.0, help="largest gradient norm")
    parser.add_argument("--logging", type=int, default=20, help="steps between logs")
    parser.add_argument("--workers", type=int, default=0,
                        help="processes that load data, in all of them")
    parser.add_argument("--stock", action="store_true", help="transformers' Trainer too")
    asked = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    warnings.filterwarnings("ignore")
    machine = torch.cuda.get_device_name() if asked.device == "cuda" else platform.machine()
    about = {"machine": machine, "torch": torch.__version__, "arguments": vars(asked)}
    result = {**about, **measure(asked)}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
