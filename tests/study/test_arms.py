"""Arms: matched to the token or in FLOPs, tuned apart; what is there is found, nothing else."""
from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
from small_study import QUIET, SMALL, facts_of

from pptrain.data import TaskDataset, register_control
from pptrain.errors import InputError
from pptrain.files import locked
from pptrain.study import Claim, Rates, StudySetup, arm_models, judge, run_study
from pptrain.study.stacks import run_stacked
from pptrain.study.tuning import best_rates
from pptrain.study.variants import run_place, run_variant, token_flops, warm_up_lengths


@pytest.mark.slow
def test_matched_arms_read_as_many_tokens_to_the_token(tmp_path):
    arms = ["scratch", "transferred", "shuffled", "unigram_noise", "natural",
            "natural_with_embeddings", "scratch_longer", "scratch_scaled"]
    table = run_study(SMALL, tmp_path, [1], arms, **QUIET)
    spent = facts_of(table, "warmup_tokens")
    warmed = [arm for arm in arms if arm not in ("scratch", "scratch_longer")]
    assert len(set(spent[warmed])) == 1
    assert spent["scratch"] == spent["scratch_longer"] == 0
    read = table[table.metric == "eval_loss"].groupby("variant").tokens.max()
    in_all = read + spent[read.index]
    assert in_all["scratch_longer"] == in_all["transferred"] > in_all["scratch"]
    assert set(facts_of(table, "flops").index) == set(arms)
    ends = table[table.metric == "eval_loss"].groupby("variant").value.last()
    assert ends["natural"] != ends["natural_with_embeddings"]
    assert ends["scratch"] != ends["scratch_scaled"]


@pytest.mark.slow
def test_matching_in_flops_holds_within_a_hundredth(tmp_path):
    config = replace(SMALL, match="flops")
    table = run_study(config, tmp_path, [1], ["transferred", "natural", "scratch_longer"], **QUIET)
    flops, tokens = facts_of(table, "flops"), facts_of(table, "warmup_tokens")
    assert tokens["natural"] != tokens["transferred"]
    for arm in ("natural", "scratch_longer"):
        assert abs(flops[arm] / flops["transferred"] - 1) < .01


@pytest.mark.slow
def test_a_warm_up_of_several_epochs_is_counted_as_it_is_read(tmp_path):
    config = replace(SMALL, overrides={"sequence_count": 10})
    table = run_study(config, tmp_path, [1], ["transferred", "natural"], **QUIET)
    tokens = facts_of(table, "warmup_tokens")
    setup = StudySetup(config, tmp_path)
    assert tokens["natural"] == tokens["transferred"] == warm_up_lengths(setup, 1).sum()


def test_an_output_layer_costs_what_it_is_wide(tmp_path):
    setup = StudySetup(SMALL, tmp_path)
    ids = setup.task.tokenizer_spec().vocab_size
    more = token_flops(setup, "text", 64) - token_flops(setup, "task", 64)
    assert more == 6 * 16 * (len(setup.tokenizer) - ids)


def test_a_control_that_shortens_rows_is_refused_before_any_work(tmp_path):
    @register_control("half_rows")
    def half_rows(dataset):
        def examples(*address):
            rows = dataset.examples(*address)
            return [replace(row, ids=row.ids[::2], mask=row.mask[::2], attend=None) for row in rows]
        return TaskDataset(examples, dataset.count, dataset.seed, dataset.split)

    with pytest.raises(InputError, match="match: none"):
        run_study(SMALL, tmp_path, [1], ["half_rows"], **QUIET)
    assert not (tmp_path / "warm-up").exists()


@pytest.mark.slow
def test_arms_of_a_study_differ_by_their_policies_alone(tmp_path):
    config = replace(SMALL, keep_models=True, arms={
        "attention": {"name": "components", "keep": ["attn"]},
        "noise": {"control": {"name": "ngram_null", "n": 2}}})
    table = run_study(config, tmp_path, [1], ["scratch", "transferred"], **QUIET)
    assert set(table.variant) == {"scratch", "transferred", "attention", "noise"}
    assert facts_of(table, "warmup_eval_loss")["attention"] == facts_of(
        table, "warmup_eval_loss")["transferred"]
    assert len(list((tmp_path / "warm-up").iterdir())) == 2
    assert set(arm_models(StudySetup(config, tmp_path), ["attention", "noise"], 1)) == {
        "attention", "noise"}
    said = json.loads((tmp_path / "facts.json").read_text())["arms"]
    assert "keep: [attn]" in said["attention"] and "ngram_null" in said["noise"]


@pytest.mark.slow
def test_every_arm_has_its_own_best_rate_and_the_tuning_seed_is_left_out(tmp_path):
    config = replace(SMALL, rates=[1e-3, 1e-2], warmup_rates=[1e-3, 3e-3])
    table = run_study(config, tmp_path, [1], ["scratch", "transferred"], **QUIET)
    assert set(table.seed) == {1}
    setup = StudySetup(config, tmp_path)
    chosen = best_rates(setup, "transferred", **QUIET)
    assert facts_of(table, "text_lr")["transferred"] == chosen.text
    assert facts_of(table, "warmup_lr")["transferred"] == chosen.warm_up
    losses = {}
    for text in (1e-3, 1e-2):
        rows = run_variant(setup, "scratch", 1000, replace(chosen, warm_up=1e-3, text=text))
        losses[text] = [row["value"] for row in rows if row["metric"] == "eval_loss"][-1]
    assert facts_of(table, "text_lr")["scratch"] == min(losses, key=losses.get)
    with pytest.raises(InputError, match="left out"):
        run_study(config, tmp_path, [1000], **QUIET)


@pytest.mark.slow
def test_relabelled_scratch_decides_nothing_and_a_planted_effect_is_found(tmp_path):
    claims = [Claim("it helps", "", "loss_gain", "transferred", main=True)]
    tiny = replace(SMALL, text_steps=8, eval_every=8)
    seeds = range(1, 17)
    table = run_study(tiny, tmp_path / "a", seeds, ["scratch"], **QUIET)
    first = table[table.seed <= 8]
    second = table[table.seed > 8]
    second = second.assign(seed=second.seed - 8, variant="transferred")
    null = judge(pd.concat([first, second]), claims)
    assert null.verdict[0] in ("undecided", "no effect")
    longer = replace(tiny, text_steps=60, eval_every=60)
    planted = run_study(longer, tmp_path / "b", range(1, 9), ["scratch"], **QUIET)
    planted = planted[planted.metric == "eval_loss"].assign(variant="transferred")
    planted.loc[planted.step > 0, "tokens"] = first.tokens.max()
    found = judge(pd.concat([first[first.metric == "eval_loss"], planted]), claims)
    assert found.verdict[0] == "replicated" and found.effect[0] > 0


@pytest.mark.slow
def test_an_arm_rises_to_its_rate_as_it_says(tmp_path):
    "Alone and in a stack, it is the arm of a study that says so of all."
    slow = replace(SMALL, warmup_steps=6)
    own = replace(slow, arms={"at_once": {"data": "nothing", "warmup_steps": 0}})
    every = run_study(replace(slow, warmup_steps=0), tmp_path / "all", [1], ["scratch"], **QUIET)
    for run, place in ((run_study, "alone"), (run_stacked, "stacked")):
        table = run(own, tmp_path / place, [1], ["scratch", "at_once"], **QUIET)
        losses = table[table.metric == "eval_loss"].groupby("variant").value.last()
        wanted = every[every.metric == "eval_loss"].value.iloc[-1]
        assert abs(losses["at_once"] - wanted) < 1e-3 < abs(losses["scratch"] - wanted)


def test_scratch_has_the_scale_of_the_very_donor_beside_it(tmp_path, monkeypatch):
    from pptrain.study import tuning

    def tried(setup, trials, say):
        "Each arm alone would take another donor: the first text rate, and warm-up rates apart."
        best = {"transferred_scaled": 1e-3, "scratch_scaled": 3e-3}
        return {trial: (trial[1].warm_up != best.get(trial[0])) + trial[1].text
                for trial in trials}
    monkeypatch.setattr(tuning, "try_rates", tried)
    setup = StudySetup(replace(SMALL, warmup_rates=[1e-3, 3e-3], rates=[1e-3, 3e-3]), tmp_path)
    arms = ["scratch_scaled", "transferred_scaled", "transferred"]
    rates, _ = tuning.tuned_rates(setup, arms, print)
    assert rates["scratch_scaled"] == rates["transferred_scaled"] == tuning.Rates(1e-3, 1e-3)
    assert tuning.tuned_rates(setup, arms[:1], print)[0]["scratch_scaled"].warm_up == 3e-3


@pytest.mark.slow
def test_whoever_is_turned_away_changes_no_facts(tmp_path):
    "A second process asked for other seeds while the first trained: the facts named its seeds."
    run_study(SMALL, tmp_path, [1], ["scratch"], **QUIET)
    before = (tmp_path / "facts.json").read_text()
    with locked(tmp_path / run_place(SMALL, "text", "scratch", 2, Rates.of(SMALL))):
        with pytest.raises(InputError, match="is in use by process"):
            run_study(SMALL, tmp_path, [2], ["scratch"], **QUIET)
    assert (tmp_path / "facts.json").read_text() == before
    run_study(SMALL, tmp_path, [1, 2], ["scratch"], **QUIET)
    assert json.loads((tmp_path / "facts.json").read_text())["seeds"] == [1, 2]
