"""Pages without a kernel: what papermill and `to_html` leave opens offline and is not empty."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from served import write_notebook

from pptrain import registered_tasks
from pptrain.widgets import explore

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    "A notebook with several views, executed by papermill and converted by nbconvert."
    folder = tmp_path_factory.mktemp("printed")
    write_notebook(folder / "in.ipynb", "from pptrain.widgets import explore", "explore('dyck')",
                   "explore('procedural')", "explore('procedural').static()")
    execute = ["papermill", "in.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    for command in (execute, ["nbconvert", "--to", "html", "out.ipynb"]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_papermill_leaves_still_pictures(printed):
    cells = json.loads((printed / "out.ipynb").read_text())["cells"][1:]
    for cell in cells:
        kinds = {mime for output in cell["outputs"] for mime in output.get("data", {})}
        assert "text/html" in kinds, cell["source"]
        assert not any("widget" in mime for mime in kinds), (cell["source"], kinds)


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
    explore("dyck").to_html(tmp_path / "page.html")
    tab.goto(f"file://{tmp_path}/page.html")
    tab.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert tab.locator(".js-plotly-plot").count() == 3      # skyline, arcs, depths
    assert not tab.wrongs and not tab.strangers


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_text_and_figures_follow_the_theme(tab, tmp_path):
    explore("dyck").to_html(tmp_path / "page.html")
    tab.goto(f"file://{tmp_path}/page.html")
    figure = tab.locator(".js-plotly-plot").first
    figure.locator(".main-svg").first.wait_for()
    dark = tab.evaluate("() => matchMedia('(prefers-color-scheme: dark)').matches")
    ground = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground != "rgb(255, 255, 255)") == dark
    assert figure.evaluate("f => f._fullLayout.paper_bgcolor") == "rgba(0,0,0,0)"
    assert figure.evaluate("f => f._fullLayout.plot_bgcolor") == "rgba(0,0,0,0)"
    tab.emulate_media(color_scheme="dark" if not dark else "light")     # the reader changes it
    wanted = "#ddd" if not dark else "#2a3f5f"
    tab.wait_for_function("([f, ink]) => f._fullLayout.font.color.toLowerCase() === ink",
                          arg=[figure.element_handle(), wanted])
    assert not tab.wrongs


def test_the_page_of_an_automaton_plays(tab, tmp_path):
    explore("nca").to_html(tmp_path / "page.html")
    tab.goto(f"file://{tmp_path}/page.html")
    label = tab.locator(".slider-label").filter(has_text="frame")
    label.first.wait_for()
    before = label.first.text_content()
    tab.locator(".updatemenu-button").first.click()
    labels = "[...document.querySelectorAll('.slider-label')]"
    tab.wait_for_function(f"before => {labels}.every(x => x.textContent !== before)", arg=before)
    # "undefined" is plotly's word for an animation that another one took over
    wrongs = [w for w in tab.wrongs if w != "undefined"]
    assert not wrongs and not tab.strangers


SHARE = """f => Math.max(...Object.entries(f._fullLayout).filter(([k]) => /^yaxis/.test(k))
    .map(([, y]) => y._length / f._fullLayout._size.h))"""


@pytest.mark.parametrize("family", [entry.name for entry in registered_tasks()])
def test_a_page_on_a_phone(family, tab, tmp_path):
    "Nothing is wider than the page, and no figure is mostly empty ground."
    explore(family).to_html(tmp_path / "page.html")
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(f"file://{tmp_path}/page.html")
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
    for figure in tab.locator(".js-plotly-plot").all():
        assert figure.evaluate(SHARE) > .9
        assert figure.bounding_box()["height"] <= figure.evaluate("f => f._fullLayout.height") + 1
    assert not tab.wrongs and not tab.strangers
