"""Is it the length? Cellular automata for 25, 100 or 300 steps before code, not 600.

    python plan.py OUT

The paper's warm-up has 1.3 % of the tokens of its text, ours more than the text. So r1_parts once
more on its seeds 11 to 13, which no verdict counts, with shorter donors: 44 thousand, 176 thousand
and 528 thousand tokens of films before .77M of code (6, 23 and 69 %). A donor's rate rises over the
first third of its steps, on code over 200, as there; scratch and 600 steps are those of r1_parts.

What it would tell: whether the harm shrinks with the warm-up faster than what the donor has learnt,
so that a shorter one would help. Written down before it ran; three seeds decide nothing."""
import sys
from pathlib import Path

import pandas as pd

from pptrain.study import COLUMNS, Replication, run, save_results

LENGTHS = (25, 100, 300)
laptop = {"model": "gpt2-3_4_96", "preset": "paper_n2", "block_size": 96,
          "overrides": {"grid_size": 6, "max_length": 110, "eval_sequence_count": 128},
          "synthetic_lr": 3e-3, "text_steps": 500, "text_lr": 6e-3, "eval_every": 100,
          "eval_blocks": 128, "keep_models": False}


def after(steps):
    "The donor of so many steps; scratch has been trained in r1_parts."
    arm = f"films_{steps}"
    sizes = {"synthetic_steps": steps, "warmup_steps": steps // 3}
    return Replication(
        title=f"Code after {steps} steps of films", family="nca", preset="paper_code", claims=[],
        paper="Lee, Han, Kumar, Agrawal 2026, arXiv 2603.10055", config={"corpus": "code"},
        variants=[arm],
        policy={"name": "reinitialize_embeddings", "positions": "fresh",
                "embeddings": "fresh(.02)"},
        profiles={"laptop": {**laptop, **sizes, "arms": {arm: {"warmup_steps": 200}}}})


if __name__ == "__main__":
    out = Path(sys.argv[1])
    runs = [run(after(steps), profile="laptop", seeds=[11, 12, 13], out_dir=out / str(steps)).rows
            for steps in LENGTHS]
    before = pd.read_csv(Path(__file__).parents[1] / "r1_parts/rows.csv")
    before = before[before.variant.isin(["scratch", "transferred"])]
    before = before.assign(study="nca", variant=before.variant.replace("transferred", "films_600"))
    save_results(out, pd.concat([before, *runs])[COLUMNS], [])
