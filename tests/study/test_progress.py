"A quiet notebook is said to be at what it is at, also while it searches rates or trains stacks."
from __future__ import annotations

import time
from dataclasses import replace

import pytest
from small_study import SMALL

from pptrain.study import StudySetup, run_stacked, run_study
from pptrain.study.processes import MARK
from pptrain.study.progress import RunProgress
from pptrain.study.tuning import tuned_rates

SEVERAL = replace(SMALL, rates=[1e-3, 3e-3])


@pytest.fixture
def heard(tmp_path, monkeypatch):
    "What a driver says while a notebook of its grid runs `study`, which is slow to print."
    monkeypatch.setenv(MARK, str(tmp_path))

    def listen(study):
        lines = []
        out = tmp_path / "runs" / "one"
        with RunProgress("one", out, lines.append, quiet=.05) as progress:
            def say(line):
                progress.line(line)
                time.sleep(.2)
            study(out, say)
        return [line.partition("; ")[2] for line in lines if "at work for" in line], lines
    return listen


def test_a_search_of_rates_says_which_arm_and_how_many(heard):
    at, lines = heard(lambda out, say: tuned_rates(
        StudySetup(SEVERAL, out), ["scratch", "transferred"], say))
    for arm, which, rates in [("scratch", 1, "text 0.001"), ("scratch", 2, "text 0.003"),
                              ("transferred", 3, "warm-up 0.001, text 0.001"),
                              ("transferred", 4, "warm-up 0.001, text 0.003")]:
        assert f"tuning {arm}, {which} of 4: {rates}" in at
    ended = [line for line in lines if line.startswith("one: tuning")]
    assert len(ended) == 4 and all(line.endswith("nats per token") for line in ended)
    assert not any("warm-up" in line for line in ended[:2]), "scratch has none"


def test_stacks_say_what_they_train(heard):
    at, _ = heard(lambda out, say: run_stacked(
        SMALL, out, [1, 2], ["scratch", "transferred"], say))
    assert any(said.startswith("training warm-up-transferred-") for said in at)
    assert "training text: 4 models at once, 6 steps" in at


@pytest.mark.slow
def test_what_a_preset_decides_is_said_once_a_process(tmp_path, capfd):
    config = replace(SMALL, family="nca", preset="paper_n2", synthetic_steps=2, text_steps=2,
                     overrides={"grid_size": 6, "max_length": 60}, rates=[1e-3, 3e-3])
    run_study(config, tmp_path, [1], ["transferred"], say=lambda line: None)
    out, err = capfd.readouterr()
    assert (out + err).count("preset paper_n2 sets") == 1
