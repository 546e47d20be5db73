"""A measure of twenty lines in a file of its own: known by name wherever measures are asked for."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

MINE = '''
from pptrain.measure import register_measure

@register_measure("weight_norm")
def weight_norm(model, rows, *, batch_size=16, order=2):
    "Norm of all parameters together."
    total = sum(p.detach().float().abs().pow(order).sum().item() for p in model.parameters())
    return {"weight_norm": total ** (1 / order)}
'''
STUDY = '''
import json, sys
from pptrain.study import StudyConfig, run_study
config = StudyConfig("demo", "procedural", "smoke", corpus="docs", corpus_bytes=150_000,
                     vocab_size=384, model="gpt2-1_2_16", block_size=64, batch_size=4,
                     synthetic_steps=4, text_steps=4, eval_every=2, eval_blocks=4,
                     measures=["perplexity", {"name": "weight_norm", "order": 1}])
table = run_study(config, sys.argv[1], [1], ["scratch"])
print(json.dumps(table.metric.value_counts().to_dict()))
'''


@pytest.fixture
def plugin(tmp_path) -> dict[str, str]:
    "An environment in which a stranger's file is named."
    path = tmp_path / "my_measure.py"
    path.write_text(MINE)
    return os.environ | {"PPTRAIN_PLUGINS": str(path)}


def said(environment: dict[str, str], code: str, *argv: str) -> str:
    "The last line that `code` prints in a fresh process."
    done = subprocess.run([sys.executable, "-c", code, *argv], env=environment, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_lists_it(plugin):
    code = "import sys; from pptrain.cli import main; sys.exit(main())"
    everything = json.loads(said(plugin, code, "tasks", "--all", "--json"))
    assert everything["measures"]["weight_norm"] == "Norm of all parameters together."
    assert {"perplexity", "exact_match"} <= set(everything["measures"])
    assert "weight_norm" in said(plugin, code, "tasks")


def test_a_study_has_rows_of_it(plugin, tmp_path):
    counts = json.loads(said(plugin, STUDY, str(tmp_path / "study")).splitlines()[-1])
    assert counts["weight_norm"] == counts["eval_loss"] > 1
