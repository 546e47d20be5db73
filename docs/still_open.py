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


def undecided_families(verdicts: Iterable[pd.DataFrame]) -> list[str]:
    "Families whose paper has no study with a decided main claim, in the papers' order."
    done = set()
    for table in verdicts:
        if "main" in table:
            main = table[table.main.eq(True) & table.verdict.isin(DECIDED)]
            done |= {paper_of(study) for study in main.study}
    return [family for family, path in replications().items()
            if paper_of(str(path)) not in done and can_be_counted(path)]


def seeds_asked(family: str, verdicts: Iterable[pd.DataFrame]) -> int | None:
    "The seeds that would decide what was run and is undecided; None where nothing says how many."
    paper, asked = paper_of(str(replications()[family])), []
    for table in verdicts:
        if "needed_n" in table:
            main = table[table.main.eq(True) & (table.study.map(paper_of) == paper)]
            asked += main.needed_n.dropna().tolist()
    return max(asked, default=None)


def rows_still_open(verdicts: Iterable[pd.DataFrame]) -> list[list[str]]:
    "A row for each: claim, the paper, seeds, tokens, operations, hours, command."
    rows, verdicts = [], list(verdicts)
    for family in undecided_families(verdicts):
        main = next(c for c in replication_of(replications()[family]).claims if c.main)
        asked = seeds_asked(family, verdicts)
        costs = laptop_costs(family, asked)
        more = f" --seeds $(seq -s, {asked})" if asked else ""
        rows.append([main.claim, main.paper, str(costs["seeds"]), in_short(costs["tokens"]),
                     in_short(costs["flops"]), in_words(costs["flops"] / pace()),
                     f"`pptrain replicate --profile laptop --family {family}{more}`"])
    return rows
