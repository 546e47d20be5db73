"""Is the gain without a rise one of rates? Scratch once more, at rates between those tried.

    python plan.py OUT

In r3_procedural each arm chose among 1e-3, 3e-3, 6e-3 and 1.2e-2. Scratch without a rise of the
rate took the lowest (4.86 nats on seed 1000; 5.06 at 3e-3), union without one took 6e-3 (4.66), and
after four seeds was .23 nats better. But in between scratch is far better, on that seed: 4.75 at
1.5e-3, 4.68 at 2e-3 (attempts.csv). So scratch chooses between 2e-3 and 2.5e-3 on seed 1000 and is
trained on seeds 1 to 8; everything else is as there, and its rows of the other arms stand beside.

Written down when four of the eight seeds of r3_procedural were known; it counts for no verdict."""
import sys
from pathlib import Path

import pandas as pd

from pptrain.study import COLUMNS, Replication, run, save_results

BEFORE = Path(__file__).parents[1] / "laptop/2026-11-28/runs/r3_procedural/rows.csv"
ARMS = {"scratch": "scratch", "transferred": "transferred",
        "transferred_at_once": "transferred_at_once", "scratch_at_once": "scratch_at_once at 1e-3"}
finer = Replication(
    title="Learning code at once, at finer rates", family="procedural", preset="paper_union_len16",
    paper="Jiang et al. 2026, arXiv 2601.21725", claims=[], variants=["scratch_at_once"],
    policy={"name": "reinitialize_embeddings", "positions": "fresh", "embeddings": "fresh(.02)"},
    config={"corpus": "code", "overrides": {"eval_sequence_count": 128}},
    profiles={"laptop": {
        "arms": {"scratch_at_once": {"data": "nothing", "warmup_steps": 0}},
        "model": "gpt2-3_4_96", "block_size": 96, "synthetic_steps": 2500, "synthetic_lr": 3e-3,
        "text_steps": 500, "eval_every": 50, "eval_blocks": 128, "warmup_steps": 200,
        "rates": [2e-3, 2.5e-3], "keep_models": False}})

if __name__ == "__main__":
    out = sys.argv[1]
    rows = run(finer, profile="laptop", seeds=range(1, 9), out_dir=out).rows
    before = pd.read_csv(BEFORE)
    before = before[before.variant.isin(ARMS)]
    before = before.assign(variant=before.variant.map(ARMS))
    save_results(out, pd.concat([before, rows])[COLUMNS], [])
