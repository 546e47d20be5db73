"""Current: the pages beside the chapters, examples, evidence, and the pieces of the site."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import evidence
import looked
import pages
import pytest
import website
from conftest import ROOT, cells_of, notebooks

from pptrain import cli, registered_tasks

FAMILIES = [e.name for e in registered_tasks()
            if (e.config_class or type).__module__.startswith("pptrain.tasks.")]
RECIPES = sorted(path.name for path in (ROOT / "configs").glob("*_minimal.yaml"))
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", pages.PAGES)
def test_pages_are_their_how_tos(name):
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == pages.page(pages.PAGES[name]), f"{name} is stale: make readme"


def test_links_of_the_pages_lead_somewhere():
    for name in [*pages.PAGES, "docs/faithful.md", "docs/differences.md", "docs/migration.md"]:
        path = ROOT / name
        for link in pages.LINK.findall(path.read_text(encoding="utf-8")):
            assert (path.parent / link.partition("#")[0]).exists(), f"{name} links to {link}"


def test_links_of_the_chapters_lead_somewhere():
    for page in notebooks():
        for cell in cells_of(page):
            if cell["cell_type"] != "markdown": continue
            for link in pages.LINK.findall(cell["source"]):
                path = ROOT / page.parent / link.partition("#")[0]
                assert path.exists(), f"{page} links to {link}"


def test_every_family_has_an_example_and_a_recipe():
    for family in FAMILIES:
        assert f"minimal_{family}.py" in EXAMPLES
        assert (ROOT / f"configs/{family}_minimal.yaml").exists()
    assert "custom_adapter.py" in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_say_what_guessing_scores(name):
    source = (ROOT / "examples" / name).read_text(encoding="utf-8")
    assert "guessing {chance['accuracy']:.1%}" in source


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, tmp_path):
    "With two steps: what they teach is seen by running them whole."
    code = f"import sys; sys.path.insert(0, 'examples'); import {name[:-3]} as it; " \
           f"it.main({str(tmp_path / 'run')!r}, steps=2)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert re.search(r"tokens right [\d.]+%, guessing [\d.]+%", done.stdout)
    assert (tmp_path / "run").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_run(name, tmp_path, capsys):
    "Two steps of each, from the command line."
    short = ["--set", "run.max_steps=2", "--set", f"run.output_dir={tmp_path / 'run'}"]
    assert cli.main(["fit", str(ROOT / "configs" / name), *short]) == 0
    assert (tmp_path / "run/bundle").is_dir() and "eval_loss" in capsys.readouterr().out


def test_differences_are_those_of_the_chapters():
    written = (ROOT / "docs/differences.md").read_text(encoding="utf-8")
    assert written == evidence.differences(), "docs/differences.md is stale: make evidence"
    assert "No difference is known" not in written


@pytest.mark.slow
def test_faithful_is_what_a_replay_says():
    written = (ROOT / "docs/faithful.md").read_text(encoding="utf-8")
    assert written == evidence.faithful(), "docs/faithful.md is stale: make evidence"
    assert "all equal" in written


def test_the_migration_page_names_settings_that_exist():
    "Those of 0.3.0 are gone, so that nobody takes an old meaning for the new one."
    text = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (`\w+`.*?) \| (.+?) \|$", text, re.M)
    known = {entry.name: {f.name for f in fields(entry.config_class)}
             for entry in registered_tasks() if entry.name in {family for family, _, _ in rows}}
    assert len(known) == 5
    for family, before, here in rows:
        assert not known[family] & {*re.findall(r"`(\w+)`", before)}, (family, before)
        assert known[family] >= {*re.findall(r"`(\w+)`", here)}, (family, here)


def test_every_section_of_the_vectors_has_a_meaning():
    with pytest.raises(LookupError, match="nca: zz"):
        evidence.legend("nca", "zz")
    assert "inputs, outputs" not in evidence.legend("nca", "e7") and evidence.legend("dyck", "ri x")


def test_the_front_of_the_site_reaches_every_page():
    books = website.chapters()
    assert {*books} == {page for page in notebooks() if page.parts[0] == "nbs"}
    text = website.front(books, [])
    missing = [str(b) for b in books if b.with_suffix("").as_posix() not in text.splitlines()]
    assert not missing, f"in no table of contents of docs/website.py: {missing}"


def test_links_to_files_bring_the_files(tmp_path):
    "Rows as they are, Markdown as a page in no table of contents, how-tos under one name."
    prose = "[a](results/r3_haystack/rows.csv) [b](results/r3_haystack/README.md) " \
            "[c](docs/quickstart.md) [d](nosuch.md) [e](../outside.md)"
    text = website.mended(prose, Path(), {"nbs/how_to/quickstart.ipynb"})
    assert "[c](/nbs/how_to/quickstart.ipynb) d (`nosuch.md`) e (`../outside.md`)" in text
    (tmp_path / "page.md").write_text(text)
    (tmp_path / "nbs/how_to").mkdir(parents=True)
    (tmp_path / "nbs/how_to/quickstart.ipynb").write_text("{}")
    website.bring_files(tmp_path)
    rows = tmp_path / "results/r3_haystack/rows.csv"
    assert rows.read_bytes() == (ROOT / "results/r3_haystack/rows.csv").read_bytes()
    assert (rows.parent / "README.md").read_text(encoding="utf-8").startswith("---\norphan: true")


STUMBLES = """<body style="color:#333; background:#fff"><p style="color:#ddd">faint</p>
<div style="width:600px">wide</div><img src="none.png"><script>console.error("oh")</script>
<style>@media (prefers-color-scheme: dark) {p {color: #fff !important}}</style>"""


@pytest.mark.slow
@pytest.mark.browser
def test_what_a_reader_stumbles_over_is_seen(tmp_path):
    if looked.CHROMIUM is None: pytest.skip("no Chromium on the PATH")
    pytest.importorskip("playwright")
    head = '<!doctype html><link rel="icon" href="data:,"><title>x</title>'
    (tmp_path / "bad.html").write_text(head + STUMBLES)
    (tmp_path / "good.html").write_text(head + "<p>words</p>")
    found = looked.oddities(tmp_path)
    assert all(line.startswith("bad.html: ") for line in found)
    for part in (" pixels wide", "pale: faint", "dark, pale: faint", "console: oh", "no picture"):
        assert any(part in line for line in found), (part, found)


def test_the_site_shows_stored_outputs_and_no_hidden_cell():
    path = next(page for page in notebooks() if page.name == "quickstart.ipynb")
    shown = json.loads(website.notebook(path, {"nbs/how_to/measure.ipynb"}))
    sources = ["".join(cell["source"]) for cell in shown["cells"]]
    assert not any("#|" in source for source in sources)
    assert any(cell.get("outputs") for cell in shown["cells"])
    assert len(sources) < len(cells_of(path))
    text = "\n".join(sources)
    assert "(/nbs/how_to/measure.ipynb)" in text and "(gallery.ipynb)" not in text


def test_broken_links_are_seen(tmp_path):
    page = '<a href="b.html#here">x</a><a href="c.html">y</a><a href="b.html#there">z</a>'
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "b.html").write_text('<p id="here">')
    assert website.broken_links(tmp_path) == ["a.html: c.html", "a.html: b.html#there"]
