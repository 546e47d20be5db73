"""What results/ hold: curves that fall, arms that say what they are, a report to match."""
from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pptrain.study.gathering import GridResults
from pptrain.study.report import report_heads

ROOT = Path(__file__).resolve().parents[2]
GRIDS = sorted((ROOT / "results/laptop").glob("*"))
TOLD = ("warm-up tokens", "tokens in all", "FLOPs in all")


@pytest.fixture(scope="module", params=GRIDS, ids=lambda path: path.name)
def results(request):
    return GridResults.read(request.param)


def test_nothing_of_them_is_damaged(results):
    assert results.notes == [] and len(results.verdicts)


def test_every_curve_falls_and_ends_below_guessing(results):
    losses = results.table[results.table.metric == "eval_loss"].sort_values("tokens")
    for (study, _, _), run in losses.groupby(["study", "variant", "seed"]):
        assert run.value.iloc[-1] < run.value.iloc[0]
        facts = json.loads((results.places[study][0] / "facts.json").read_text())
        if "vocabulary" in facts:
            assert run.value.iloc[-1] < math.log(facts["vocabulary"])


def test_every_arm_says_what_it_cost_and_whether_its_warm_up_learnt(results):
    for head in report_heads(results):
        stage = "skill" if "skill tokens" in head.arms else "text"
        for arm in head.arms.to_dict("records"):
            assert arm["seeds"] == 8 and "–" not in [arm[name] for name in TOLD]
            assert float(arm[f"{stage} rate"]) > 0
            if arm["warm-up tokens"] != "0":
                assert arm["warm-up learnt?"].startswith(("yes", "hardly"))
                assert float(arm["warm-up rate"]) > 0
        facts = json.loads((results.places[head.study][0] / "facts.json").read_text())
        assert len(facts["corpus_sha256"]) == 64


def test_a_verdict_speaks_about_the_model_that_was_trained(results):
    for row in results.verdicts.itertuples():
        facts = json.loads((results.places[row.study][0] / "facts.json").read_text())
        count = facts["parameters"]["text"]["all"]
        assert row.size.startswith(f"{count / 1e6:.3g}M parameters")
