"""Two notebooks of a grid choose the learning rates of one study: each trial is run once."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

from pptrain.study.processes import MARK

# a process of a grid: it waits for the other one, runs its seed and writes down what it trains
NOTEBOOK = """
import os, sys, time
from dataclasses import asdict
from pathlib import Path
from pptrain.study import StudyConfig, run_study, variants

home, seed = Path(sys.argv[1]), int(sys.argv[2])
learn = variants.learn

def noted(setup, arm, seed, rates):
    with open(home / "trained", "a") as file:
        file.write(f"{os.getpid()} {arm.name} {seed} {rates.warm_up:g} {rates.text:g}\\n")
    return learn(setup, arm, seed, rates)

variants.learn = noted
config = StudyConfig(
    "together", "procedural", "smoke", corpus="docs", corpus_bytes=120_000, vocab_size=384,
    model="gpt2-1_2_16", block_size=64, batch_size=4, synthetic_steps=6, text_steps=6,
    eval_every=3, eval_blocks=8, warmup_steps=0, rates=[1e-3, 1e-2], warmup_rates=[1e-3, 3e-3])
(home / f"ready-{seed}").touch()
while len(list(home.glob("ready-*"))) < 2:
    time.sleep(.05)
table = run_study(config, home / "runs" / str(seed), [seed], ["scratch", "transferred"], say=str)
assert set(table.seed) == {seed}
"""

# the same with stacks, of which a whole search is one
STACKED = NOTEBOOK.replace("run_study, variants", "run_stacked, stacks").replace(
    "run_study(", "run_stacked(").partition("learn =")[0] + """
train = stacks.train_texts

def noted(setup, stacking, given):
    with open(home / "trained", "a") as file:
        for name, number, rates in given:
            file.write(f"{os.getpid()} {name} {number} {rates.warm_up:g} {rates.text:g}\\n")
    return train(setup, stacking, given)

stacks.train_texts = noted
""" + "config =" + NOTEBOOK.partition("config =")[2].replace("run_study(", "run_stacked(")


def both_at_once(notebook: str, home: Path) -> list[str]:
    "Runs a notebook for the seeds 1 and 2 of one grid at once; their process ids."
    env = os.environ | {"PYTHONPATH": str(ROOT), MARK: str(home)}
    both = [subprocess.Popen([sys.executable, "-c", notebook, str(home), seed], env=env,
                             stderr=subprocess.PIPE, text=True) for seed in ("1", "2")]
    for process in both:
        assert process.wait(timeout=400) == 0, process.stderr.read()
    return [str(process.pid) for process in both]


@pytest.mark.slow
def test_two_processes_share_one_choice_of_rates(tmp_path):
    both = both_at_once(NOTEBOOK, tmp_path)
    trained = [line.split() for line in (tmp_path / "trained").read_text().splitlines()]
    trials = Counter(tuple(run[1:]) for run in trained if run[2] == "1000")
    assert len(trials) == 2 + 4 and set(trials.values()) == {1}, trials
    assert {run[0] for run in trained if run[2] == "1000"} == set(both)
    facts = [json.loads((tmp_path / "runs" / seed / "facts.json").read_text()) for seed in "12"]
    assert facts[0]["rates"] == facts[1]["rates"] and facts[0]["trials"] == facts[1]["trials"]
    assert len(facts[0]["trials"]) == 6
    best = {arm: min((trial for trial in facts[0]["trials"] if trial["arm"] == arm),
                     key=lambda trial: trial["loss"]) for arm in ("scratch", "transferred")}
    for arm, rates in facts[0]["rates"].items():
        assert best[arm]["text"] == rates["text"] and best[arm]["warm_up"] == rates["warm_up"]
    counted = Counter((run[1], run[2]) for run in trained if run[2] != "1000")
    assert set(counted) == {(arm, seed) for arm in best for seed in "12"}
    assert set(counted.values()) == {1}
    assert not Path(tmp_path / "runs" / "1" / "tuning").exists()


@pytest.mark.slow
def test_two_processes_with_stacks_wait_for_one_search_of_rates(tmp_path):
    both = both_at_once(STACKED, tmp_path)
    trained = [line.split() for line in (tmp_path / "trained").read_text().splitlines()]
    search = [run for run in trained if run[2] == "1000"]
    assert len(search) == len({tuple(run[1:]) for run in search}) == 2 + 4, search
    assert len({run[0] for run in search}) == 1 and {run[0] for run in trained} == set(both)
    assert len(trained) == len(search) + 2 * 2
    facts = [json.loads((tmp_path / "runs" / seed / "facts.json").read_text()) for seed in "12"]
    assert facts[0]["rates"] == facts[1]["rates"] and facts[0]["trials"] == facts[1]["trials"]
