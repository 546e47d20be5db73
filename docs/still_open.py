"""What the main claims take that no result has decided: seeds, tokens, operations, hours."""
from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
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
PAPER = re.compile(r"\br\d(?=_)")                       # r4 in r4_simpler_tasks


def paper_of(name: str) -> str:
    "`r4` of any name that holds `r4_`; nothing for others."
    found = PAPER.search(name)
    return found[0] if found else ""


@cache
def laptop_costs(family: str) -> dict[str, Any]:
    "What profile laptop of a replication trains, all seeds: {seeds, tokens, FLOPs}."
    with quiet():
        told = dry_run(plan("laptop", [family]))
    tokens = told["warm-up tokens"].sum() + told["text tokens"].sum()
    return {"seeds": len(told), "tokens": float(tokens), "flops": float(told["FLOPs"].sum())}


def pace() -> float:
    "FLOP/s of one thread: operations of r4_simpler_tasks by the seconds that it took."
    runs = json.loads((ROOT / TIMED).read_text(encoding="utf-8"))["runs"]
    seconds = next(run["seconds"] for run in runs if run["id"] == "r4_simpler_tasks")
    return laptop_costs("simpler_tasks")["flops"] / seconds


def undecided_families(verdicts: Iterable[pd.DataFrame]) -> list[str]:
    "Families whose paper has no study with a decided main claim, in the papers' order."
    done = set()
    for table in verdicts:
        if "main" in table:
            main = table[table.main.eq(True) & table.verdict.isin(DECIDED)]
            done |= {paper_of(study) for study in main.study}
    return [family for family, path in replications().items()
            if paper_of(str(path)) not in done and can_be_counted(path)]


def rows_still_open(verdicts: Iterable[pd.DataFrame]) -> list[list[str]]:
    "A row for each: claim, the paper, seeds, tokens, operations, hours, command."
    rows = []
    for family in undecided_families(verdicts):
        main = next(c for c in replication_of(replications()[family]).claims if c.main)
        costs = laptop_costs(family)
        rows.append([main.claim, main.paper, str(costs["seeds"]), in_short(costs["tokens"]),
                     in_short(costs["flops"]), in_words(costs["flops"] / pace()),
                     f"`pptrain replicate --profile laptop --family {family}`"])
    return rows
