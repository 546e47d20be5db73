"""Rows of an arm's own, and mixtures of families: as warm-ups of arms, and in a study."""
from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from small_study import QUIET, SMALL, facts_of

from pptrain import InputError, create_task
from pptrain.study import (
    Claim, Replication, StudySetup, run, run_stacked, run_study, warm_up)
from pptrain.study.arms import arm_of
from pptrain.study.own_rows import OF_A_PART, own_lengths, tokens_of_parts
from pptrain.study.variants import warm_up_data, warm_up_lengths

PARTS = [{"name": "procedural", "config": {"preset": "smoke"}, "weight": {0: 2, 24: 1}},
         {"name": "dyck", "config": {"preset": "smoke", "length": 32}}]
BLEND = {"task": {"family": "mixture", "parts": PARTS}}


@pytest.mark.slow
@pytest.mark.parametrize("match", ["tokens", "flops", "none"])
def test_a_mixture_is_an_arm_matched_as_the_others_are(match, tmp_path):
    config = replace(SMALL, match=match, arms={
        "blend": BLEND, "shuffled_blend": {**BLEND, "control": "shuffled"}})
    table = run_study(config, tmp_path, [1], ["transferred", "natural"], **QUIET)
    tokens, flops = facts_of(table, "warmup_tokens"), facts_of(table, "flops")
    if match == "tokens":
        assert len(set(tokens)) == 1
    if match == "flops":
        assert (abs(flops / flops["transferred"] - 1) < .01).all()
        assert tokens["blend"] != tokens["transferred"]
    if match == "none":
        assert tokens["blend"] != tokens["transferred"]
    parts = [facts_of(table, OF_A_PART + label)["blend"]
             for label in ("procedural (smoke)", "dyck (smoke)")]
    assert sum(parts) == tokens["blend"] and min(parts) > 0
    ends = table[table.metric == "eval_loss"].groupby("variant").value.last()
    assert ends["blend"] not in (ends["transferred"], ends["shuffled_blend"])
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert "mixture of 0.667 to 0.5 procedural (smoke)" in facts["arms"]["blend"]
    assert facts["guessing_of"]["blend"]["loss"] != facts["guessing"]["loss"]
    card = next(tmp_path.glob("warm-up/mixture-????????-1/bundle/README.md")).read_text()
    assert "part: dyck (smoke)" in card and "arXiv" in card
    again = run_study(config, tmp_path, [1], ["transferred", "natural"], **QUIET)
    assert again.equals(table)              # read back, also with a schedule's numbers as texts


def test_tokens_of_the_parts_are_those_of_the_rows(tmp_path):
    config = replace(SMALL, synthetic_steps=40, arms={"blend": {"task": {
        "family": "mixture", "parts": [
            {"name": "procedural", "config": {"preset": "smoke", "sequence_count": 20}},
            {"name": "dyck", "config": {"preset": "smoke", "sequence_count": 17}}]}}})
    setup, arm = StudySetup(config, tmp_path), arm_of(config, "blend")
    lengths = own_lengths(setup, arm, 3)
    assert lengths.sum() == warm_up_lengths(setup, 3).sum() and len(lengths) > 2 * 37
    rows = setup.task_of(arm).build_datasets(3).train_dataset
    counted: dict[str, int] = {}
    for i, length in enumerate(lengths):    # three passes over 37 rows, each of other items
        rows.set_epoch(i // 37)
        label = OF_A_PART + rows.example(i % 37).meta["part"]
        counted[label] = counted.get(label, 0) + length
    assert counted == tokens_of_parts(setup, arm, 3)


OWN = {"brackets": {"task": {"family": "dyck", "preset": "smoke", "length": 40}},
       "few": {"task": {"family": "dyck", "preset": "smoke", "sequence_count": 7}},
       "shuffled_brackets": {"control": "shuffled", "task": {
           "family": "dyck", "preset": "smoke", "length": 24}},
       "shorter": {"task": {"length": 6}}}


@pytest.mark.slow
@pytest.mark.parametrize("match", ["tokens", "flops", "none"])
def test_an_arm_with_rows_of_its_own_is_matched_to_the_token(match, tmp_path):
    config = replace(SMALL, match=match, arms=OWN, synthetic_steps=9)
    table = run_study(config, tmp_path, [1, 2], ["transferred"], **QUIET)
    for seed, rows in table.groupby("seed"):
        tokens, flops = facts_of(rows, "warmup_tokens"), facts_of(rows, "flops")
        if match == "tokens":
            assert set(tokens) == {warm_up_lengths(StudySetup(config, tmp_path), seed).sum()}
        if match == "flops":
            assert (abs(flops / flops["transferred"] - 1) < .01).all()
            assert tokens["brackets"] != tokens["transferred"]
        if match == "none":
            assert tokens["brackets"] == 40 * 9 * 4


@pytest.mark.slow
def test_stacks_read_as_many_tokens_of_an_arms_own_rows(tmp_path):
    config = replace(SMALL, arms=OWN, synthetic_steps=9)
    arms = ["transferred", *OWN]
    alone = run_study(config, tmp_path / "a", [1, 2], arms, **QUIET)
    stacked = run_stacked(config, tmp_path / "b", [1, 2], arms, **QUIET)
    both = alone.merge(stacked, on=["variant", "seed", "step", "metric"], suffixes=("", "_s"))
    assert len(both) == len(alone) == len(stacked)
    tokens = both[both.metric == "warmup_tokens"]
    assert (tokens.value == tokens.value_s).all()
    assert (tokens.groupby("seed").value.nunique() == 1).all()
    losses = both[both.metric == "eval_loss"]
    assert np.allclose(losses.value, losses.value_s, atol=2e-3)


@pytest.mark.slow
def test_a_mixture_is_the_family_of_a_study_and_of_a_replication(tmp_path):
    claims = [Claim("it helps", "", "loss_gain", "transferred", main=True)]
    fields = {"overrides": {"parts": PARTS, "eval_sequence_count": 8}}
    both = Replication("nobody", "Two families", "mixture", "", claims, config=fields,
                       variants=["scratch", "transferred"])
    sizes = {name: getattr(SMALL, name) for name in (
        "corpus", "corpus_bytes", "vocab_size", "model", "block_size", "batch_size",
        "synthetic_steps", "text_steps", "eval_every", "eval_blocks", "warmup_steps")}
    result = run(both, out_dir=tmp_path, seeds=[1], **sizes, **QUIET)
    assert result.verdicts.verdict.tolist() == ["not judged"]
    table = facts_of(result.rows, "warmup_tokens")
    of_parts = result.rows[result.rows.metric.str.startswith(OF_A_PART)].value
    assert of_parts.sum() == table["transferred"] and len(of_parts) == 2
    assert "a mixture of" in json.loads((tmp_path / "facts.json").read_text())["family"]
    bundle = warm_up(StudySetup(result.config, tmp_path), "transferred", 1)
    assert bundle.task_name == "mixture" and not bundle.preset
    again = create_task("mixture", bundle.task_config)
    assert again.sample(5).text == both.task("test", **sizes).sample(5).text
    assert "Two families (mixture)" in str(result.curves().figure)


@pytest.mark.parametrize("parts, word", [
    ([{"name": "dick"}], "dyck"), ({}, "valid list"), ([], "arm 'blend': a mixture needs parts"),
    ([{"name": "dyck", "weight": -1}], "above zero"),
    ([{"name": "dyck", "config": {"preset": "smok"}}], "smoke"),
    ([{"name": "mixture", "config": {"parts": PARTS}}], "name its parts here")])
def test_a_mixture_that_cannot_be_is_refused_before_any_work(parts, word, tmp_path):
    config = replace(SMALL, arms={"blend": {"task": {"family": "mixture", "parts": parts}}})
    with pytest.raises(InputError, match=word):
        run_study(config, tmp_path / "never", [1], ["scratch"], **QUIET)
    assert not (tmp_path / "never").exists()


def test_rows_that_are_cut_keep_their_end(tmp_path):
    config = replace(SMALL, arms={"blend": BLEND})
    setup, arm = StudySetup(config, tmp_path), arm_of(config, "blend")
    task, view, steps = warm_up_data(setup, arm, 1)
    rows = view(task.build_datasets(1).train_dataset)
    whole = task.build_datasets(1).train_dataset.batch(range(len(rows)))
    cut = rows.batch(range(len(rows)))
    assert steps == int(np.ceil(len(rows) / 4))
    for one, other in zip(cut, whole):
        assert one.ids.tolist() == other.ids[len(other) - len(one):].tolist()
        assert one.mask[1:].any()           # every row, the last one too, has something to learn
    assert asdict(config)["arms"] == {"blend": BLEND}
