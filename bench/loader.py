"""What does a DataLoader cost? Collated tokens a second, alone and with two workers.

    python bench/loader.py

Batches of 32 and 64 of simpler_tasks and procedural in the papers' settings. Machines are busy, so
CPU time is told apart from wall time: `main` is what the process that trains spends on a batch, not
counting the making of it where workers make it, and `workers` what all workers spend on it. On two
idle cores, tokens a second are about twice tokens per CPU-second. Prints a table and writes
bench/results/loader-<machine>.json.
"""
from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import card
import torch
from torch.utils.data import DataLoader

from pptrain.core import create_task
from pptrain.data import fillers

PRESETS = {"simpler_tasks": "paper_set_1m", "procedural": "paper_set_len64"}
FAR = 10**6   # items behind those that are drawn while kernels are compiled


def cpu(who: int) -> float:
    "CPU-seconds of this process, or of its workers that have ended."
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(family: str, workers: int, size: int, batches: int) -> dict:
    "One pass through a loader, workers' start and end included."
    task = create_task(family, preset=PRESETS[family], sequence_count=10**9)
    bundle = task.build_datasets(seed=1)
    bundle.train_dataset.__getitems__(range(1024))
    items = range(FAR, FAR + size * batches)
    begin = [cpu(resource.RUSAGE_SELF), cpu(resource.RUSAGE_CHILDREN), time.perf_counter()]
    loader = DataLoader(bundle.train_dataset, size, sampler=items, num_workers=workers,
                        collate_fn=bundle.data_collator)
    tokens = 0
    for batch in loader:
        tokens += int(batch["attention_mask"].sum())
    del loader
    end = [cpu(resource.RUSAGE_SELF), cpu(resource.RUSAGE_CHILDREN), time.perf_counter()]
    main, others, wall = (after - before for before, after in zip(begin, end))
    return {"family": family, "workers": workers, "batch": size,
            "main_us_a_batch": round(main / batches * 1e6),
            "workers_us_a_batch": round(others / batches * 1e6),
            "tokens_a_batch": round(tokens / batches),
            "tokens_per_cpu_second": round(tokens / (main + others)),
            "tokens_per_second": round(tokens / wall)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=card.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fillers.WORTH = 0   # machine code from the first row on
    rows = []
    for family in PRESETS:
        for size in (32, 64):
            for workers in (0, 2):
                rows.append(measure(family, workers, size, options.batches))
                print(rows[-1], flush=True)
    card.keep("loader", card.machine() | {"rows": rows}, options.out)


if __name__ == "__main__":
    main()
