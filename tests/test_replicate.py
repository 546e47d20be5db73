"""A replication through papermill, end to end, at a size where only the machinery can be judged."""
from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from pptrain.grid import RunSpec, replications, run_grid
from pptrain.report import write_report

TINY = {"profile": "test", "seeds": "1,2", "synthetic_steps": 2, "text_steps": 4, "model": "gpt2-1_2_16"}


@pytest.mark.slow
def test_a_small_grid_becomes_a_report(tmp_path):
    specs = [RunSpec("procedural", replications()["procedural"], TINY),
             RunSpec("dyck", replications()["dyck"], TINY | {"preset": "paper_k9"})]
    manifest = run_grid(specs, tmp_path, workers=2, profile="test")
    assert [manifest.status(s) for s in specs] == ["done", "failed"], manifest.runs
    assert "paper_k8" in manifest.runs[specs[1].id]["error"]

    page = write_report(tmp_path).read_text()
    table, claims = pd.read_csv(tmp_path / "results.csv"), pd.read_csv(tmp_path / "claims.csv")
    assert list(table.columns) == ["study", "variant", "seed", "step", "tokens", "metric", "value"]
    assert set(table.variant) == {"scratch", "transferred", "shuffled", "natural"} and set(table.seed) == {1, 2}
    warm = table[table.metric == "warmup_tokens"].groupby("variant").value.unique()
    assert warm["scratch"] == [0] and warm["transferred"] == warm["shuffled"] == warm["natural"] == [2 * 16 * 33]
    start = table[(table.metric == "eval_loss") & (table.step == 0)]
    assert start[start.variant == "scratch"].groupby("seed").value.nunique().eq(1).all()
    assert set(claims.verdict) <= {"replicated", "not replicated", "contradicted", "under-powered", "not run"}
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)      # plotly's own source names its makers' pages
    assert "Plotly.newPlot" in page and "paper_k8" in markup and not re.search(r'(src|href)="(http|//)', markup)
    assert not re.search(r"<script[^>]*\bsrc=", page)
    assert (tmp_path / "figures" / "procedural_loss.png").read_bytes()[:4] == b"\x89PNG"
    runs = json.loads((tmp_path / "manifest.json").read_text())["runs"]
    assert all({"spec_hash", "status", "notebook", "seconds"} <= set(run) for run in runs)
    assert (tmp_path / runs[0]["notebook"]).exists()

    lines = []
    run_grid(specs[:1], tmp_path, say=lines.append)
    assert lines == ["1 of 1 runs were done before and are kept"]
