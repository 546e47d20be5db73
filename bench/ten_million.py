"""Ten million items of every symbolic family, in flat memory?

    python bench/ten_million.py --family procedural

Draws items 0 to 9,999,999 in batches of 4,096 as arrays, in one thread, and looks at the resident
memory after every batch. Memory is flat where the largest of the last nine tenths is that of the
first tenth, give or take a few megabytes. Prints a line a tenth and keeps a row a family in
bench/results/ten-million-<machine>.json.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import time
import zlib
from pathlib import Path

import torch

from pptrain.core import create_task
from pptrain.data import fillers

PRESETS = {"procedural": "paper_set_len64", "dyck": "paper_k64", "simpler_tasks": "paper_set_1m",
           "lime": "paper_mixed_5m", "summarization": "paper_ourtasks_subset_100k"}
BATCH = 4096


def resident() -> float:
    "Megabytes in memory now."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def draw(family: str, items: int) -> dict:
    "Time, tokens, a checksum of all ids, and the largest resident memory of each tenth."
    task = create_task(family, preset=PRESETS[family], sequence_count=items)
    data = task.build_datasets(seed=1).train_dataset
    start, cpu, begin = time.perf_counter(), time.process_time(), resident()
    tokens = checksum = 0
    peaks = [0.0] * 10
    for at in range(0, items, BATCH):
        rows = data.__getitems__(range(at, min(at + BATCH, items)))
        tokens += int(rows.lengths.sum())
        checksum = zlib.crc32(rows.ids[:: BATCH // 8].tobytes(), checksum)
        tenth = at * 10 // items
        peaks[tenth] = max(peaks[tenth], resident())
        if (at + BATCH) * 10 // items > tenth:
            print(f"{family} {tenth + 1}/10: {peaks[tenth]:.0f} MB", flush=True)
    return {"family": family, "preset": PRESETS[family], "items": items, "tokens": tokens,
            "crc32": checksum, "minutes": round((time.perf_counter() - start) / 60, 2),
            "cpu_minutes": round((time.process_time() - cpu) / 60, 2),
            "mb_before": round(begin), "mb_by_tenth": [round(peak) for peak in peaks],
            "load": os.getloadavg(), "date": time.strftime("%Y-%m-%d")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--family", choices=PRESETS, action="append")
    parser.add_argument("-n", type=int, default=10**7, help="items")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fillers.WORTH = 0   # machine code from the first row on
    path = options.out / f"ten-million-{platform.node()}.json"
    rows = {row["family"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    for family in options.family or PRESETS:
        rows[family] = draw(family, options.n)
        print(rows[family])
        path.write_text(json.dumps(list(rows.values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
