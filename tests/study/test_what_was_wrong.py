"""What issue 11 found wrong, a test for each of its sentences: none of it may come back."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_study import SMALL

from pptrain.core import create_task
from pptrain.data import create_control, registered_controls
from pptrain.study import COLUMNS, Claim, Rates, StudySetup, decide, gains, judge, text_model
from pptrain.study.arms import arm_of
from pptrain.study.head import study_head
from pptrain.study.statistics import sign_flip_p
from pptrain.study.tuning import tuned_rates

HELPS = Claim("it helps", "", "loss_gain", "transferred", main=True)
WORTH = Claim("a token is worth more than one", "", "mrs", "transferred", than=1.)
DECIDED = ("replicated", "contradicted")


def study(seeds: int, curve, spent: int = 50) -> pd.DataFrame:
    "Rows of two arms whose losses at 0, 50 and 100 tokens of text `curve(arm, seed)` says."
    rows = []
    for seed in range(1, seeds + 1):
        for arm in ("scratch", "transferred"):
            losses = zip((0, 50, 100), curve(arm, seed))
            rows += [("s", arm, seed, at, at, "eval_loss", loss) for at, loss in losses]
            rows.append(("s", arm, seed, 0, 0, "warmup_tokens", spent * (arm != "scratch")))
    return pd.DataFrame(rows, columns=COLUMNS)


def test_identical_overfitting_curves_save_nothing():
    same = study(8, lambda arm, seed: (5., 3. + seed / 50, 4.))
    verdicts = judge(same, [HELPS, WORTH])
    assert not verdicts.verdict.isin(DECIDED).any() and (verdicts.effect == 0).all()
    assert (gains(same).loss_gain == 0).all() and (gains(same).mrs == 0).all()


def test_diverged_baselines_are_not_reached():
    lost = study(8, lambda arm, seed: (5., 4., math.nan if arm == "scratch" and seed < 6 else 3.))
    verdicts = judge(lost, [HELPS, WORTH])
    assert (verdicts.verdict == "not judged").all() and verdicts.why[0].startswith("diverged")
    assert gains(lost).query("seed < 6 and variant == 'transferred'").mrs.isna().all()


@pytest.mark.parametrize("n", [5, 8, 10])
def test_half_a_standard_deviation_is_undecided_and_never_called_absent(n):
    drawn = np.random.default_rng(n).normal(.5, 1, (300, n))
    said = [decide(row) for row in drawn]
    words = pd.Series([decision.verdict for decision in said]).value_counts(normalize=True)
    assert set(words.index) <= {"undecided", *DECIDED} and words["undecided"] > .5
    assert all(one.needed_n > n for one in said if one.verdict == "undecided")


def test_skewed_studies_of_nothing_are_not_decided_by_a_t_interval_alone():
    drawn = np.random.default_rng(0).lognormal(size=(2000, 5)) - math.exp(.5)
    high = drawn.mean(1) + 2.776 * drawn.std(1, ddof=1) / 5 ** .5
    assert (high < 0).mean() > .1                             # the interval alone contradicts
    assert not any(decide(row).verdict in DECIDED for row in drawn[:200])


@pytest.mark.parametrize("n", range(15, 21))
def test_p_is_exact_up_to_twenty_pairs(n):
    d = np.arange(1, n + 1) * np.where(np.arange(n) % 5 == 4, -1, 1)
    counts = np.ones(1)                                       # sign flips by their sum, counted
    for size in range(1, n + 1):
        counts = np.convolve(counts, [1] + [0] * (2 * size - 1) + [1])
    sums = np.arange(len(counts)) - np.arange(1, n + 1).sum()
    exact = counts[np.abs(sums) >= abs(d.sum())].sum() / 2 ** n
    assert sign_flip_p(d.astype(float)) == pytest.approx(exact, rel=1e-12)


def test_several_claims_share_one_error_rate():
    rng = np.random.default_rng(0)
    claims = [replace(HELPS, main=False, measure=f"m{i}") for i in range(5)]
    decided = 0
    for _ in range(100):
        rows = [("s", arm, seed, 1, 1, claim.measure, rng.normal())
                for claim in claims for arm in ("scratch", "transferred") for seed in range(8)]
        judged = judge(pd.DataFrame(rows, columns=COLUMNS), claims)
        decided += judged.verdict.isin(DECIDED).any()
        assert (judged.p_corrected >= judged.p).all()
    assert decided <= 10                                      # uncorrected: one study in five


def test_every_arm_is_compared_at_its_own_best_rate(tmp_path, monkeypatch):
    ends = {("scratch", 1e-3): 2.4, ("scratch", 3e-3): 2.0,
            ("transferred", 1e-3): 2.1, ("transferred", 3e-3): 2.2}

    def trained(setup, arm, seed, rates):
        assert seed == setup.config.tuning_seed               # which no comparison reads
        return [dict(metric="eval_loss", value=ends[arm, rates.text], diverged="")]

    monkeypatch.setattr("pptrain.study.tuning.run_variant", trained)
    setup = StudySetup(replace(SMALL, rates=[1e-3, 3e-3]), tmp_path)
    best, trials = tuned_rates(setup, ["scratch", "transferred"], say=lambda line: None)
    assert best == {"scratch": Rates(1e-3, 3e-3), "transferred": Rates(1e-3, 1e-3)}
    assert len(trials) == 4 and {trial["loss"] for trial in trials} == set(ends.values())


def test_real_text_may_keep_the_embeddings_of_its_own_vocabulary(tmp_path):
    setup = StudySetup(SMALL, tmp_path)
    ids = setup.text_spec
    torch.manual_seed(7)
    warm = setup.adapter.create_prepretrain_model(ids)
    for name, kept in (("natural", False), ("natural_with_embeddings", True)):
        model, _ = text_model(setup, None, 1)
        arm_of(setup.config, name).transfer_policy(setup.config).apply_state_dict(
            warm.state_dict(), model)
        there, here = (m.get_input_embeddings().weight for m in (warm, model))
        assert torch.equal(here[:len(there)], there[:len(here)]) == kept


@pytest.mark.parametrize("control", registered_controls())
def test_a_control_carries_loss_where_the_task_does(control):
    rows = create_task("procedural", preset="smoke").build_datasets(3).train_dataset
    changed = create_control(control)(rows)
    live = [(rows[i]["labels"] != -100, changed[i]["labels"] != -100) for i in range(12)]
    assert all(torch.equal(ours, theirs) for ours, theirs in live)
    share = torch.cat([ours for ours, _ in live]).float().mean()
    assert 0 < share < .9                                     # or the test says nothing


def test_savings_count_the_tokens_of_both_stages():
    "Half of the text is saved, and the warm-up took as much: nothing is."
    even = study(1, lambda arm, seed: (5., 4., 3.) if arm == "scratch" else (5., 3., 2.))
    found = gains(even).set_index("variant").loc["transferred"]
    assert found.token_saving == 0 and found.mrs == 1 and found.loss_gain == 1
    assert found.loss_gain_total == 0


def test_a_report_prints_the_tokens_and_the_flops_of_both_stages():
    rows = study(2, lambda arm, seed: (5., 4., 3.))
    spent = [("s", arm, 1, 0, 0, "flops", flops)
             for arm, flops in (("scratch", 2e9), ("transferred", 3e9))]
    head = study_head("s", pd.concat([rows, pd.DataFrame(spent, columns=COLUMNS)]), {}, rows[:0])
    arms = head.arms.set_index("arm")
    printed = ["warm-up tokens", "text tokens", "tokens in all", "FLOPs in all"]
    assert arms.loc["scratch", printed].tolist() == ["0", "100", "100", "2e+09"]
    assert arms.loc["transferred", printed].tolist() == ["50", "100", "150", "3e+09"]
    for page in (head.to_markdown(), head.to_html()):
        assert all(word in page for word in [*printed, "150", "3e+09"])
