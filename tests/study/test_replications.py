"""What replication notebooks say before anything is trained: arms, claims, sizes, shell lines."""
from __future__ import annotations

import json
import re
import shlex

import pytest
import torch

from pptrain import load_recipe
from pptrain.core.starter import starter
from pptrain.errors import InputError
from pptrain.grid import plan, replications
from pptrain.integrations import HFCausalLMAdapter
from pptrain.study.costs import names_before, replication_of, study_costs, study_of
from pptrain.study.dry_run import dry_run
from pptrain.study.launch import launch_lines
from pptrain.study.profiles import PROFILES
from pptrain.yaml12 import merge, parse_settings, parse_yaml

STUDIES = ["nca", "dyck", "procedural", "summarization"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("study", STUDIES)
def test_every_profile_can_be_priced(study, profile):
    spec = plan(profile, [study], [1])[0]
    row = dry_run([spec]).iloc[0]
    config, _, variants = study_of(spec)
    assert row.arms == tuple(variants) and row.FLOPs > 0 and row["warm-up tokens"] > 0
    a_text = config.text_steps * config.text_batch * config.block_size
    assert row["text tokens"] == row.texts * a_text
    tried = len(config.rates) > 1 or len(config.warmup_rates) > 1
    assert row.texts > len(variants) if tried else row.texts == len(variants)


@pytest.mark.parametrize("study", STUDIES)
def test_claims_are_about_arms_that_run(study):
    replication = replication_of(replications()[study])
    arms = set(replication.arms("laptop"))
    assert sum(claim.main for claim in replication.claims) == 1
    for claim in replication.claims:
        assert {claim.variant, claim.against} <= arms, claim.claim
        assert claim.paper if claim.kind == "claim" else not claim.paper, claim.claim
    main = next(claim for claim in replication.claims if claim.main)
    for profile in PROFILES:
        assert {main.variant, main.against} <= set(replication.arms(profile)), profile


@pytest.mark.parametrize("study", ["nca", "procedural"])
def test_of_english_a_laptop_trains_the_arms_that_are_asked_about(study):
    asked = {"profile": "laptop", "corpus": "docs"}
    replication = names_before(replications()[study], asked)["replication"]
    sides = {side for claim in replication.claims for side in (claim.variant, claim.against)}
    assert set(replication.arms("laptop")) == sides


@pytest.mark.parametrize("study", STUDIES)
def test_text_studies_cross_warm_up_with_the_scale_of_embeddings(study):
    replication = replication_of(replications()[study])
    for profile in ("laptop", "gpu", "paper"):
        spec = plan(profile, [study], [1])[0]
        config, _, variants = study_of(spec)
        assert {"scratch", "transferred", "scratch_scaled", "transferred_scaled"} <= set(variants)
        assert str(config.transfer_policy().to_dict()["embeddings"]) == "fresh(.02)"
    assert len(PROFILES["laptop"]["seeds"]) >= 6
    assert study_of(plan("laptop", [study], [1])[0])[0].rates, "a verdict needs tuned rates"
    assert replication.settings("laptop")["preset"]


def recipe_of(spec):
    "The recipe that the lines of a shell amount to."
    first, *lines = launch_lines(spec)
    assert first.startswith("pptrain config ") and lines[0].startswith("torchrun ")
    words = shlex.split(" ".join(line.rstrip("\\") for line in lines))
    pairs = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    text = starter(study_of(spec)[0].family).splitlines()
    base = parse_yaml("\n".join(line for line in text if "n_positions" not in line))
    return words, load_recipe(merge(base, parse_settings(pairs)))


@pytest.mark.parametrize("study", STUDIES)
def test_the_lines_of_a_paper_are_a_recipe_with_a_model(study):
    spec = plan("paper", [study], [1])[0]
    config, _, _ = study_of(spec)
    words, recipe = recipe_of(spec)
    gpus = 1
    for option in ("--nnodes", "--nproc-per-node"):
        if option in words:
            gpus *= int(words[words.index(option) + 1])
    task = recipe.create_task()
    wanted = replication_of(spec.notebook).task("paper")
    assert task.name == config.family and task.export_config() == wanted.export_config()
    run, text = recipe.run_config(), recipe.eval_config()
    assert recipe.run["per_device_train_batch_size"] * gpus == config.batch_size
    assert text.batch_size * gpus == config.text_batch and text.train_steps == config.text_steps
    assert run.max_steps == config.synthetic_steps and text.corpus == config.corpus
    with torch.device("meta"):
        model = HFCausalLMAdapter(recipe.model_config()).create_prepretrain_model(
            task.tokenizer_spec())
    assert sum(p.numel() for p in model.parameters()) > 2e7


def test_equal_questions_are_counted_once():
    config, seeds, variants = study_of(plan("test", ["dyck"], [1, 2])[0])
    first = study_costs(config, seeds, variants)
    first.loc[0, "FLOPs"] = -1
    assert (study_costs(config, [3, 4], variants).FLOPs > 0).all()
    assert study_costs(config, [3], variants).texts.sum() < first.texts.sum()


def test_a_profile_for_a_gpu_is_not_timed_here():
    from pptrain.study.dry_run import dry_run_text

    def never(config):
        raise AssertionError("a step of a GPU's study was timed on this machine")
    text = dry_run_text(plan("gpu", ["dyck"], [1]), 1, never)
    assert re.search(r"of one GPU at \d+ TFLOP/s", text) and "slices of ten minutes" in text
    assert "torchrun" not in text


def test_every_replication_is_counted_skills_too():
    from pptrain.study.dry_run import dry_run_text, launch_text
    for profile in ("laptop", "gpu", "paper"):
        specs = plan(profile, ["haystack", "addition", "dyck"], [1, 2])
        table = dry_run(specs)
        assert list(table.study) == ["haystack"] * 2 + ["addition"] * 2 + ["dyck"] * 2
        started = "\n".join(launch_text(specs))
        for command in ("torchrun", "--family haystack", "--family addition"):
            assert (command in started) == (profile == "paper")
        assert (table.FLOPs > 1e9).all() and (table["warm-ups"] > 0).all()
        first, second = table[table.study == "haystack"].texts
        assert first == second, "one rate for all arms: none is looked for"
    text = dry_run_text(plan("gpu", ["haystack"], [1]), 1)
    assert "24M tokens/s" in text and "TFLOP/s" not in text and "not counted" not in text


def test_a_search_of_rates_is_counted_once():
    from dataclasses import replace

    from pptrain.study.skill_costs import skill_costs, skill_of
    config, _ = skill_of(plan("laptop", ["haystack"], [1])[0])
    two = replace(config, rates=[1e-3, 3e-3])
    first, second = (skill_costs(two, [1], search).texts.sum() for search in (True, False))
    assert first == 3 * second, "two rates are tried once, by the first"


def test_a_grid_chooses_the_rates_of_a_skill_once(tmp_path, monkeypatch):
    from dataclasses import replace

    from pptrain.study import run_skill
    from pptrain.study.processes import MARK
    from pptrain.study.skill_costs import skill_of
    config, _ = skill_of(plan("laptop", ["haystack"], [1])[0])
    tiny = replace(config, model="gpt2-1_2_16", steps=4, batch_size=4, eval_every=4, eval_rows=8,
                   rates=[1e-3, 3e-3], arms={"scratch": None}, donors={})
    monkeypatch.setenv(MARK, str(tmp_path))
    said = []
    rows = [run_skill(tiny, tmp_path / f"runs/{seed}", [seed], said.append) for seed in (1, 2)]
    assert sum("1000" in line for line in said) == 1, "one search"
    [chosen] = tmp_path.glob("tuning/haystack-*/rates.json")
    assert len(list(tmp_path.rglob("rates.json"))) == 1
    rates = [r[r.metric == "text_lr"].value.unique().tolist() for r in rows]
    assert rates[0] == rates[1] == list(json.loads(chosen.read_text()).values())


def test_a_donor_that_no_arm_uses_is_refused_not_trained_uncounted():
    from dataclasses import replace

    from pptrain.study.skill_costs import skill_costs, skill_of
    for study in ("haystack", "addition"):
        for profile in ("test", "laptop"):
            config, seeds = skill_of(plan(profile, [study], [1])[0])
            counted = skill_costs(config, seeds, search=False)
            assert counted["warm-ups"].sum() == len(config.donors), "each is trained, once"
            with pytest.raises(InputError, match="no arm gets anything of it"):
                replace(config, arms={"scratch": None})
