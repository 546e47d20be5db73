"""A comparison and a report of half a grid: the same rows, the same figures."""
from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from served import WAIT, open_in_lab

from pptrain.errors import InputError
from pptrain.grid import Manifest, RunSpec, run_folder
from pptrain.study import COLUMNS, Claim, judge, mean_gains, save_results
from pptrain.study.gathering import GridResults
from pptrain.study.report import write_report
from pptrain.views.comparison import OWN, ComparisonPanel, compare

POLICY = {"name": "components", "keep": ["attn"]}


def rows_of(seed):
    "Two variants; `odd` learns twice as fast. A loss in two units, one that rises, one at the end."
    rows = []
    for variant, speed in [("scratch", 1), ("odd", 2)]:
        for tokens in (0, 500, 1000):
            loss = 4 - speed * tokens / 1000 - .1 * seed
            values = {"eval_loss": loss, "bits_per_byte": loss / 2, "hits": 5 - loss}
            for metric, value in values.items():
                rows.append(("first", variant, seed, tokens, tokens, metric, value))
        rows.append(("first", variant, seed, 1000, 1000, "reading", speed + seed))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def grid(tmp_path):
    "Two studies; the first has two runs done and one waiting, the second has failed."
    notebook = tmp_path / "nb.ipynb"
    notebook.write_text("{}")
    manifest = Manifest(tmp_path, profile="demo")
    for seed in (1, 2):
        spec = RunSpec("first", str(notebook), {"seeds": str(seed)})
        folder = run_folder(spec, tmp_path)
        claims = [Claim("c", "p", "loss_gain", "odd", main=True),
                  Claim("ours", "", "token_saving", "odd", kind="comparison")]
        save_results(folder, rows_of(seed), claims)
        (folder / "study.json").write_text(json.dumps({"family": "dyck", "policy": POLICY}))
        manifest.set(spec, status="done", seconds=1.0)
    manifest.set(RunSpec("first", str(notebook), {"seeds": "3"}), status="waiting")
    manifest.set(RunSpec("second", str(notebook)), status="failed", error="boom")
    return tmp_path


def test_partial_grid(grid):
    view = compare(grid)
    table = view.tokens_to_equal_loss()
    assert table.loc["odd", "mean"] == pytest.approx(500)
    assert table.loc["odd", "saved"] == pytest.approx(.5)
    assert view.tokens_to_equal_loss(3.4).loc["odd", "seed 1"] == pytest.approx(250)
    markup = view.static().markup
    assert "2 of 4 runs done" in markup
    assert "first: waiting" in markup and "second: failed (boom)" in markup


@pytest.mark.parametrize("warmup, odd", [(0, None), (200, None), (700, None), (200, np.nan)])
def test_report_and_comparison_save_the_same(grid, warmup, odd):
    "A dear warm-up costs the same share on both pages, a diverged run is a dash on both."
    for path in grid.glob("runs/*/rows.csv"):
        rows = pd.read_csv(path)
        cost = rows[(rows.variant == "odd") & (rows.metric == "reading")]
        cost = cost.assign(metric="warmup_tokens", tokens=0, step=0, value=warmup)
        if odd is not None:
            rows.loc[(rows.variant == "odd") & (rows.tokens == 1000), "value"] = odd
        pd.concat([rows, cost]).to_csv(path, index=False)
    view = compare(grid)
    reported = mean_gains(view.results.table).set_index("variant").token_saving
    compared = view.tokens_to_equal_loss().saved
    assert compared["odd"] == pytest.approx(reported["odd"], nan_ok=True)
    right = np.nan if odd is not None else (500 - warmup) / max(1000, 500 + warmup)
    assert compared["odd"] == pytest.approx(right, nan_ok=True) and compared["scratch"] == 0
    table = view.results.table
    claim = Claim("saves", "", "token_saving", "odd")
    judged = judge(table[table.study == "first"], [claim]).effect[0]
    assert judged == pytest.approx(right, nan_ok=True)      # claims, report and comparison agree


def test_a_metric_that_rises_is_reached_from_below(grid):
    view = compare(grid)
    assert view.tokens_to_equal_loss(metric="hits").equals(view.tokens_to_equal_loss())
    assert view.tokens_to_equal_loss(1.6, metric="hits").loc["odd", "seed 1"] == pytest.approx(250)


def test_every_metric_with_rows_is_drawn(grid):
    view = compare(grid)
    assert view.metrics("first") == ["eval_loss", "bits_per_byte", "hits", "reading"]
    labels = [picture.figure.layout.yaxis.title.text for picture in view.static().pictures]
    assert labels == ["held-out loss (nats per token)", "hits", "reading"]
    for metric in view.metrics("first"):
        panel = ComparisonPanel(view)
        panel.menus["metric"].value = metric
        assert panel.figure.data and "odd" in panel.table.value
    with pytest.raises(InputError, match="measured once per run"):
        view.tokens_to_equal_loss(metric="reading")


def test_panel_changes_metric_and_target(grid):
    panel = ComparisonPanel(compare(grid))
    panel.menus["metric"].value = "bits_per_byte"
    assert "bits per byte" in panel.figure.layout.yaxis.title.text and "500" in panel.table.value
    panel.menus["aim"].value = OWN
    panel.menus["value"].value = 1.7
    assert "bits per byte" in panel.menus["value"].description and "250" in panel.table.value
    for row in panel.variants.children:
        row.children[0].value = False
    assert not any(trace.visible for trace in panel.figure.data if trace.name)


def test_copy_without_the_run_folders(grid, tmp_path_factory):
    write_report(grid)
    bare = tmp_path_factory.mktemp("bare")
    for name in ("manifest.json", "results.csv", "claims.csv", "comparisons.csv"):
        shutil.copy(grid / name, bare)
    assert compare(bare).tokens_to_equal_loss().equals(compare(grid).tokens_to_equal_loss())
    for folder in (bare, grid):
        results = compare(folder).results
        assert results.verdicts.verdict.tolist() == ["undecided"]
        assert results.comparisons.claim.tolist() == ["ours"]
        assert results.headline.endswith("Claims: 1 undecided.")
    write_report(bare)      # and a report of the copy keeps what it has
    assert (bare / "results.csv").read_text() == (grid / "results.csv").read_text()


def test_a_grid_with_nothing_in_it(tmp_path):
    with pytest.raises(InputError, match="holds no manifest"):
        compare(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"runs": []}))
    with pytest.raises(InputError, match="no finished run yet .no runs."):
        compare(tmp_path)


def test_damaged_files_are_named(grid):
    path, = sorted(grid.glob("runs/*/claims.json"))[:1]
    path.write_text("{")
    assert any("claims.json is damaged" in note for note in GridResults.read(grid).notes)
    path.write_text("[]")
    path.with_name("rows.csv").write_text("")
    write_report(grid, say=(said := []).append)
    assert any("rows.csv is damaged" in line for line in said)
    (grid / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="manifest.json is damaged"):
        write_report(grid)


def test_report_and_comparison_draw_the_same_curves(grid):
    path = write_report(grid)
    pictures = sorted(p.name for p in (grid / "figures").iterdir())
    assert pictures == ["first_effects.png", "first_hits.png", "first_loss.png"]
    page = re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.S)
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    for written in (page, text):
        assert "{name: components, keep: [attn]}" in written and "2 of 4 runs done" in written
        assert "boom" in written
    assert not re.search(r'(src|href)="(http|//)', page)
    assert "color-scheme: light dark" in page


@pytest.mark.parametrize("target", [np.nan, np.inf, [3.4], True, "nobody", 3j], ids=str)
def test_a_target_is_a_finite_number_or_a_variant(grid, target):
    with pytest.raises(InputError, match="target|variant"):
        compare(grid).tokens_to_equal_loss(target)


CURVES = ".js-plotly-plot .scatterlayer .trace"
DEAF = "const after = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = () => after(0)"


def boards(grid) -> list[str]:
    "Two cells, each with a comparison."
    shown = f"compare({str(grid)!r})"
    return [f"from pptrain.widgets import compare\n{shown}", shown]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_boards_in_jupyterlab(tab, lab, grid):
    "Each fills its width on the page's own ground, and answers."
    open_in_lab(tab, lab, "boards", *boards(grid), shown=CURVES)
    plots = tab.locator(".pp-menus .js-plotly-plot")
    tab.wait_for_function("document.querySelectorAll('.pp-menus .js-plotly-plot').length === 2")
    for board in tab.locator(".pp-menus:has(> .js-plotly-plot)").all():
        plot = board.locator(".js-plotly-plot")
        plot.locator(".scatterlayer .trace").first.wait_for(timeout=WAIT)
        wide = board.bounding_box()["width"]
        tab.wait_for_function("([f, wide]) => f._fullLayout.width > .95 * wide",
                              arg=[plot.element_handle(), wide])
        assert plot.evaluate("f => f._fullLayout.paper_bgcolor") == "rgba(0,0,0,0)"
        drawn = plot.locator(".scatterlayer .trace").count()
        board.get_by_role("checkbox", name="odd").uncheck()
        tab.wait_for_function(
            "([f, drawn]) => f.querySelectorAll('.scatterlayer .trace').length < drawn",
            arg=[plot.element_handle(), drawn], timeout=WAIT)
    assert plots.count() == 2 and not tab.wrongs, tab.wrongs


@pytest.mark.slow
@pytest.mark.browser
def test_what_a_slow_browser_shows_is_complete(tab, lab, grid):
    """anywidget waits two seconds for a widget's script and drops all messages after that.

    Here it waits for none, so that only what the widgets opened with is seen."""
    tab.add_init_script(DEAF)
    explorer = "from pptrain.widgets import explore\nexplore('dyck')"
    open_in_lab(tab, lab, "deaf", *boards(grid), explorer, shown=CURVES)
    tab.locator(".pp-explorer[data-version]").wait_for(timeout=WAIT)
    assert tab.locator(".pp-strip .pp-token").count() == 64
    for plot in tab.locator(".pp-menus .js-plotly-plot").all():
        assert plot.evaluate("f => f.data.length") == 11
    assert tab.locator(".pp-menus .js-plotly-plot").count() == 2
