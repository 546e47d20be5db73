"Text where a number is asked for is refused, in one sentence that names field and value."
from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from small_study import SMALL

from pptrain.errors import InputError
from pptrain.runs import RunConfig
from pptrain.study import Claim, Replication, SkillConfig, StudyConfig, read_seeds, run
from pptrain.study import run_skill, run_study
from pptrain.study.stacks import run_stacked
from pptrain.study.arms import arm_of
from pptrain.study.trials import check_arm
from pptrain.study.variants import StudySetup

TINY = Replication("nobody", "tiny", "procedural", "smoke", [], {
    "corpus": "docs", "corpus_bytes": 120_000, "vocab_size": 384, "model": "gpt2-1_2_16",
    "block_size": 64, "batch_size": 4, "synthetic_steps": 2, "text_steps": 2, "eval_every": 2,
    "eval_blocks": 4, "keep_models": False}, variants=["scratch", "transferred"])
SKILL = dict(study="s", family="probes", preset="condattendstream_8", model="gpt2-1_2_16",
             donors={}, arms={"scratch": None}, rates=[1e-3])
COUNTS = ("synthetic_steps", "text_steps", "batch_size", "vocab_size", "corpus_bytes",
          "warmup_steps", "tuning_seed")


def refused(name, value, asked, *given, **named):
    with pytest.raises(InputError) as refusal:
        asked(*given, **named)
    said = str(refusal.value)
    assert name in said and str(value) in said and "number" in said and "\n" not in said


@pytest.mark.parametrize("name", COUNTS)
def test_a_study(name, tmp_path):
    refused(name, "3", run, TINY, out_dir=tmp_path, **{name: "3"})
    refused(name, "3", StudyConfig, **asdict(SMALL) | {name: "3"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name,value", [
    ("text_lr", "1e-3"), ("init_std", ".1"), ("rates", ["1e-3", "3e-3"])])
def test_a_studys_rates(name, value):
    refused(name, value[0], StudyConfig, **asdict(SMALL) | {name: value})


def test_a_replications_fields(tmp_path):
    ours = replace(TINY, profiles={"test": {"text_steps": "3"}})
    refused("text_steps", "3", run, ours, out_dir=tmp_path)
    refused("smallest_effect", ".1", Claim, "c", "", "loss_gain", "transferred",
            smallest_effect=".1")


def test_an_arms_steps(tmp_path):
    config = replace(SMALL, arms={"slow": {"data": "nothing", "warmup_steps": "3"}})
    with pytest.raises(InputError, match="warmup_steps='3'"):
        check_arm(StudySetup(config, tmp_path), arm_of(config, "slow"))


@pytest.mark.parametrize("name", ["steps", "batch_size", "positions", "together", "eval_every"])
def test_a_skill(name):
    refused(name, "3", SkillConfig, **SKILL | {name: "3"})


def test_a_skills_donors():
    donor = {"preset": "smoke", "family": "procedural", "steps": "3"}
    arms = {"scratch": None, "a": {"donor": "d", "policy": "copy"}}
    refused("steps", "3", SkillConfig, **SKILL | {"donors": {"d": donor}, "arms": arms})


@pytest.mark.parametrize("option", [{"workers": "2"}, {"together": "2"}])
def test_stacks(option, tmp_path):
    (name, value), = option.items()
    refused(name, value, run_stacked, SMALL, tmp_path, [1], ["scratch"], **option)
    refused(name, value, run, TINY, out_dir=tmp_path, stacked=option)
    refused(name, value, run_skill, SkillConfig(**SKILL), tmp_path, [1], **option)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", [["1", "2"], ("1",), {"1"}])
def test_seeds_in_a_list(seeds, tmp_path):
    refused("seeds", "1", read_seeds, seeds)
    refused("seeds", "1", run_study, SMALL, tmp_path, seeds, ["scratch"])
    refused("seeds", "1", run, TINY, out_dir=tmp_path, seeds=seeds)
    refused("seeds", "1", run_skill, SkillConfig(**SKILL), tmp_path, seeds)
    assert read_seeds("1,2") == [1, 2]      # a line that somebody typed


def test_a_run_of_one_stage(tmp_path):
    refused("max_steps", "3", RunConfig, tmp_path, max_steps="3")
    refused("learning_rate", "1e-3", RunConfig, tmp_path, learning_rate="1e-3")
