"""Two replications before they are run: what each profile would train, and what the pages quote."""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

from pptrain.grid import plan, replications
from pptrain.study.costs import replication_of
from pptrain.study.dry_run import dry_run, dry_run_text

PROFILES = ("test", "laptop", "gpu", "paper")
QUOTED = {"simpler_tasks": {"67", "65", "39", "100", "0"}, "lime": {"67"}}   # per cent, from specs


@cache
def told(family: str, profile: str):
    "The dry run of one seed."
    return dry_run(plan(profile, [family], [1])).iloc[0]


@pytest.mark.parametrize("family", QUOTED)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_can_be_counted(family, profile):
    row = told(family, profile)
    assert row["warm-up tokens"] > 0 and row["text tokens"] > 0 and row.FLOPs > 0
    assert {"scratch", "transferred"} <= set(row.arms)


@pytest.mark.parametrize("family", QUOTED)
def test_profiles_grow(family):
    flops = [told(family, profile).FLOPs for profile in PROFILES]
    assert flops == sorted(flops) and flops[-1] > 100 * flops[1]


@pytest.mark.parametrize("family", QUOTED)
def test_claims_name_arms_that_are_run(family):
    arms = set(told(family, "laptop").arms)
    claims = replication_of(replications()[family]).claims
    for claim in claims:
        assert {claim.variant, claim.against} <= arms, claim.claim
        assert claim.smallest_effect, claim.claim
    assert [claim.main for claim in claims].count(True) == 1
    assert sum(not claim.main and claim.kind == "claim" for claim in claims) <= 4
    assert sum(claim.kind == "comparison" for claim in claims) <= 6     # eight pairs can decide six


@pytest.mark.parametrize("family", QUOTED)
def test_the_embedding_scale_is_crossed(family):
    arms = set(told(family, "laptop").arms)
    assert {"scratch", "scratch_scaled", "transferred", "transferred_scaled"} <= arms


def test_lime_runs_each_mode_alone_beside_the_mixture():
    config = replication_of(replications()["lime"]).config
    presets = [arm["task"]["preset"] for arm in config["arms"].values()]
    assert presets == ["official_deduct", "official_abduct", "official_induct"]


@pytest.mark.parametrize("family", QUOTED)
def test_numbers_quoted_of_the_papers_are_those_that_were_checked(family):
    notebook = nbformat.read(Path(replications()[family]), as_version=4)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    claims = [claim.paper for claim in replication_of(replications()[family]).claims]
    shares = set(re.findall(r"([\d.]+) %", " ".join(prose + claims)))
    assert shares <= QUOTED[family], shares - QUOTED[family]


def test_a_paper_profile_comes_with_the_line_that_starts_it():
    said = dry_run_text(plan("paper", ["simpler_tasks"], [1]), 1)
    assert "torchrun" in said and "task.config.preset=official_set" in said and "hours" in said
