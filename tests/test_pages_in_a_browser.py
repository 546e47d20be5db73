"""Pages without a kernel: what papermill leaves, and what `to_html` writes, open offline and are not empty."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from served import write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    "A notebook with several views, executed by papermill and converted by nbconvert."
    folder = tmp_path_factory.mktemp("printed")
    write_notebook(folder / "in.ipynb", "from pptrain.widgets import explore", "explore('dyck')", "explore('procedural')", "explore('procedural').static()")
    for command in (["papermill", "in.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"], ["nbconvert", "--to", "html", "out.ipynb"]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_papermill_leaves_still_pictures(printed):
    cells = json.loads((printed / "out.ipynb").read_text())["cells"][1:]
    for cell in cells:
        kinds = {mime for output in cell["outputs"] for mime in output.get("data", {})}
        assert "text/html" in kinds and not any("widget" in mime for mime in kinds), (cell["source"], kinds)


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_the_converted_notebook_shows_them(tab, printed):
    tab.goto(f"file://{printed}/out.html")
    stills = tab.locator(".pptrain-still")
    assert stills.count() == 3
    for i in range(3): assert stills.nth(i).bounding_box()["height"] > 150
    widths = tab.eval_on_selector_all(".pptrain-still img", "all => all.map(i => i.naturalWidth)")
    assert len(widths) >= 6 and min(widths) > 100
    assert tab.locator(".jupyter-widgets").count() == 0


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_a_page_of_its_own(tab, tmp_path):
    from pptrain.widgets import explore
    explore("dyck").to_html(tmp_path / "page.html")
    tab.goto(f"file://{tmp_path}/page.html")
    tab.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert tab.locator(".js-plotly-plot").count() == 3 and not tab.wrongs and not tab.strangers    # skyline, arcs, depths


def test_the_page_of_an_automaton_plays(tab, tmp_path):
    from pptrain.widgets import explore
    explore("nca").to_html(tmp_path / "page.html")
    tab.goto(f"file://{tmp_path}/page.html")
    label = tab.locator(".slider-label").filter(has_text="frame")
    label.first.wait_for()
    before = label.first.text_content()
    tab.locator(".updatemenu-button").first.click()
    tab.wait_for_function("before => [...document.querySelectorAll('.slider-label')].every(x => x.textContent !== before)", arg=before)
    wrongs = [w for w in tab.wrongs if w != "undefined"]     # plotly's word for an animation that another one took over
    assert not wrongs and not tab.strangers
