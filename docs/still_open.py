"""What the main claims take that no result has decided: seeds, tokens, operations, hours."""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from results import ROOT

from pptrain.integrations import quiet
from pptrain.study.costs import can_be_counted, replication_of
from pptrain.study.dry_run import dry_run, in_short
from pptrain.study.grid import plan, replications
from pptrain.study.progress import in_words

DECIDED = ("replicated", "contradicted", "no effect")
TIMED = "results/laptop/2026-11-27/manifest.json"       # a laptop grid that was run to its end


def notebook_of(family: str) -> str:
    "`r4_simpler_tasks`: the notebook of a family, and the name of its study's folder."
    return Path(str(replications()[family])).stem


@cache
def laptop_costs(family: str, seeds: int | None = None) -> dict[str, Any]:
    "What profile laptop trains of a replication: {seeds, tokens, FLOPs}; None: its own seeds."
    with quiet():
        told = dry_run(plan("laptop", [family], range(1, seeds + 1) if seeds else None))
    tokens = told["warm-up tokens"].sum() + told["text tokens"].sum()
    return {"seeds": len(told), "tokens": float(tokens), "flops": float(told["FLOPs"].sum())}


def pace() -> float:
    "FLOP/s of one thread: operations of r4_simpler_tasks by the seconds that it took."
    runs = json.loads((ROOT / TIMED).read_text(encoding="utf-8"))["runs"]
    seconds = next(run["seconds"] for run in runs if run["id"] == "r4_simpler_tasks")
    return laptop_costs("simpler_tasks")["flops"] / seconds


def main_claims(family: str, verdicts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    "The verdicts on a notebook's main claim, of every study that ran it."
    own = [table[table.main.eq(True) & table.study.str.endswith(notebook_of(family))]
           for table in verdicts if "main" in table]
    return pd.concat(own) if own else pd.DataFrame(columns=["verdict", "needed_n"])


def undecided_families(verdicts: Sequence[pd.DataFrame]) -> list[str]:
    "Families whose notebook has no study with a decided main claim, in the papers' order."
    return [family for family, path in replications().items() if can_be_counted(path)
            and not main_claims(family, verdicts).verdict.isin(DECIDED).any()]


def seeds_asked(family: str, verdicts: Sequence[pd.DataFrame]) -> int | None:
    "The seeds that would decide what was run and is undecided; None where nothing says how many."
    return max(main_claims(family, verdicts).needed_n.dropna(), default=None)


def rows_still_open(verdicts: Iterable[pd.DataFrame]) -> list[list[str]]:
    "A row for each: notebook, claim, paper, seeds, tokens, operations, hours, command."
    rows, verdicts = [], list(verdicts)
    for family in undecided_families(verdicts):
        main = next(c for c in replication_of(replications()[family]).claims if c.main)
        asked = seeds_asked(family, verdicts)
        costs = laptop_costs(family, asked)
        more = f" --seeds $(seq -s, 101 {100 + asked})" if asked else ""     # none seen before
        rows.append([notebook_of(family), main.claim, main.paper, str(costs["seeds"]),
                     in_short(costs["tokens"]), in_short(costs["flops"]),
                     in_words(costs["flops"] / pace()),
                     f"`pptrain replicate --profile laptop --family {family}{more}`"])
    return rows
