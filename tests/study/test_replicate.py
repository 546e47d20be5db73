"""A replication through papermill, end to end, at a size where only the machinery can be judged."""
from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from pptrain.core import create_task
from pptrain.grid import RunSpec, replications, run_grid
from pptrain.study import COLUMNS, StudyConfig
from pptrain.study.report import write_report

TINY = {"profile": "test", "seeds": [1, 2], "synthetic_steps": 2, "text_steps": 4,
        "model": "gpt2-1_2_16"}
PRESET = "paper_union_len16"      # of the procedural replication in profile test


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    "(folder, specs, manifest) of two runs, one of which asks for a preset that does not exist."
    folder = tmp_path_factory.mktemp("grid")
    specs = [RunSpec("procedural", replications()["procedural"], TINY),
             RunSpec("dyck", replications()["dyck"], TINY | {"preset": "paper_k9"})]
    manifest = run_grid(specs, folder, workers=2, profile="test")
    write_report(folder)
    return folder, specs, manifest


def final_loss(table: pd.DataFrame, variant: str) -> pd.Series:
    "Seed → held-out loss at the end of a variant."
    rows = table[(table.metric == "eval_loss") & (table.variant == variant)]
    return rows.sort_values("step").groupby("seed").value.last()


@pytest.mark.slow
def test_one_failure_sinks_nobody(grid):
    folder, specs, manifest = grid
    assert [manifest.status(spec) for spec in specs] == ["done", "failed"], manifest.runs
    assert "paper_k8" in manifest.runs[specs[1].id]["error"]
    runs = json.loads((folder / "manifest.json").read_text())["runs"]
    assert all({"spec_hash", "status", "notebook", "seconds"} <= set(run) for run in runs)
    assert (folder / runs[0]["notebook"]).exists()


@pytest.mark.slow
def test_rows_of_a_study(grid):
    table = pd.read_csv(grid[0] / "results.csv")
    assert list(table.columns) == COLUMNS
    assert set(table.variant) == {"scratch", "transferred", "shuffled", "natural"}
    assert set(table.seed) == {1, 2}

    # what a warm-up cost is what it read: the first rows of its seed, shuffled or not; text has
    # blocks of one size, as long as those rows are on average
    spent = table[table.metric == "warmup_tokens"].set_index(["variant", "seed"]).value
    count = TINY["synthetic_steps"] * StudyConfig.batch_size
    for seed in (1, 2):
        rows = create_task("procedural", preset=PRESET).build_datasets(seed).train_dataset
        read = sum(int(rows[i]["attention_mask"].sum()) for i in range(count))
        assert spent["scratch", seed] == 0
        assert spent["transferred", seed] == spent["shuffled", seed] == read
        assert spent["natural", seed] == pytest.approx(read, abs=count / 2)

    # scratch starts where its seed starts, once
    start = table[(table.metric == "eval_loss") & (table.step == 0)]
    assert start[start.variant == "scratch"].groupby("seed").value.nunique().eq(1).all()


@pytest.mark.slow
def test_verdicts_follow_from_the_rows(grid):
    names = ("results", "claims", "comparisons")
    table, claims, ours = (pd.read_csv(grid[0] / f"{name}.csv") for name in names)
    claims = claims[claims.study == "procedural"]
    assert claims.main.sum() == 1 and len(claims) >= 3 and len(ours) >= 1
    assert not set(claims.claim) & set(ours.claim)
    judged = pd.concat([claims, ours])
    runs = set(table.variant)       # profile test leaves some arms out, and says so
    ran = judged.variant.isin(runs) & judged.against.isin(runs)
    assert set(judged[~ran].verdict) == {"not run"} and ran.sum() >= 4
    judged = judged[ran]
    for row in judged[judged.measure == "loss_gain"].itertuples():
        better = final_loss(table, row.against) - final_loss(table, row.variant)
        assert row.effect == pytest.approx(better.mean(), abs=1e-9)
        assert row.low <= row.effect <= row.high and row.unit == "nats per token"
    # two seeds of profile test decide nothing, whatever came out
    assert set(judged.verdict) == {"not judged"} and set(judged.n) == {2}
    assert judged["size"].str.match(r"\d+(,\d{3}|\.\d+M) parameters, ").all()
    assert "Claims: " in (grid[0] / "report.md").read_text() and judged.why.str.len().min() > 0


@pytest.mark.slow
def test_the_report_opens_offline(grid):
    folder = grid[0]
    page = (folder / "report.html").read_text()
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)   # plotly names its makers' pages
    assert "Plotly.newPlot" in page and not re.search(r"<script[^>]*\bsrc=", page)
    assert "paper_k8" in markup and not re.search(r'(src|href)="(http|//)', markup)
    assert (folder / "figures" / "procedural_loss.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_what_is_done_is_not_done_again(grid):
    folder, specs, _ = grid
    lines = []
    run_grid(specs[:1], folder, say=lines.append)
    assert lines == ["1 of 1 runs were done before and are kept"]
