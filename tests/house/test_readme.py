"""The front page: short, narrow, true without styles, and its programs run as printed."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from readme import render, shown

from pptrain import registered_presets, registered_tasks

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
LINKS = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)|^\[[^\]]+\]: (?!https?:)(\S+)", re.M)
PICTURES = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
# of the sh blocks: who installs or starts a browser is not run again by a test
NOT_HERE = re.compile(r"(make|pip) ")


def blocks(language: str) -> list[str]:
    return [code for name, code in BLOCK.findall(TEXT) if name == language]


def test_it_is_short_and_narrow():
    lines = TEXT.splitlines()
    assert len(lines) < 200
    wide = [line for line in lines if len(line) > 150]
    assert not wide, wide


def test_nothing_in_it_needs_styles():
    prose = BLOCK.sub("", TEXT)
    tags = set(re.findall(r"<(?!!--|https?:)/?(\w+)", re.sub(r"`[^`]*`", "", prose)))
    assert not tags, f"GitHub may drop what these say: {tags}"
    assert "style=" not in TEXT


def test_links_and_pictures_are_there():
    found = [a or b for a, b in LINKS.findall(TEXT)]
    missing = [link for link in found if not (ROOT / link.partition("#")[0]).exists()]
    assert len(found) > 30 and not missing, missing


def test_pictures_are_light_and_follow_the_theme():
    pictures = PICTURES.findall(TEXT)
    assert len(pictures) >= 12
    for name in pictures:
        data = (ROOT / name).read_bytes()
        assert len(data) < 300_000, f"{name} has {len(data)} bytes"
        if name.startswith("docs/pictures/") and name.endswith(".svg"):
            assert b"prefers-color-scheme:dark" in data and b"<script" not in data, name
    moving = [name for name in pictures if b"@keyframes" in (ROOT / name).read_bytes()]
    assert {Path(name).name for name in moving} == {"nca.svg", "dyck.svg"}


def test_the_table_of_families_is_that_of_the_registry():
    row = r"^\| !\[\]\(\S+?/(\w+)\.png\) \| \[(\w+)\]\((\S+?)\) .*`(\w+)` \|$"
    rows = re.findall(row, TEXT, re.M)
    names = {name for _, name, _, _ in rows}
    ours = {e.name for e in registered_tasks()
            if (e.config_class or type).__module__.startswith("pptrain.tasks.")}
    assert names == ours
    for picture, name, chapter, preset in rows:
        assert picture == name and f"/{name}/" in chapter
        assert preset in {p.name for p in registered_presets(name)}, (name, preset)


def test_chance_stands_beside_every_number():
    printed = re.findall(r"^    (.*\d.*)$", BLOCK.sub("", TEXT), re.M)
    scores = [line for line in printed if "right" in line or "nats" in line]
    assert len(scores) == 2 and all("guessing" in line for line in scores)


def test_a_view_is_its_pictures_and_a_strip_an_svg():
    images = "".join(f'<img alt="{name}" src="data:image/png;base64,{code}">'
                     for name, code in (("a", "QQ=="), ("b", "Qg==")))
    markup = f'<div class="pptrain-still">{images}<p style="color:red">words</p></div>'
    new = shown(nbformat.v4.new_output("display_data", {"text/html": markup}))
    assert [output.data for output in new] == [{"image/png": "QQ=="}, {"image/png": "Qg=="}]
    plain = nbformat.v4.new_output("stream", text="said")
    assert shown(plain) == [plain]
    readme = render()["README.md"].decode()
    assert "data:image" not in readme and "<!-- haystack -->" not in readme


def run(command: list[str], folder: Path, **more) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:"
                        + os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_python_blocks_run_in_order_in_a_fresh_directory(tmp_path):
    "As one program; what its last lines print is what the page shows."
    code = "\n\n".join(blocks("python"))
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    said = run([sys.executable, "program.py"], tmp_path, timeout=900)
    assert re.search(r"tokens right: (9\d|100)%; guessing: 5%", said), said
    assert "undecided; 6 pairs are the fewest" in said
    assert {path.name for path in tmp_path.iterdir()} == {"program.py"}, "nothing is left behind"


@pytest.mark.slow
def test_commands_run_in_order_in_a_fresh_directory(tmp_path):
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [line.partition("#")[0].strip() for line in lines]
    assert sum(line.startswith("pptrain ") for line in commands) >= 6
    for line in filter(None, commands):
        if NOT_HERE.match(line):
            continue
        run(["bash", "-c", line], tmp_path, timeout=900)
    assert (tmp_path / "mine.yaml").exists() and (tmp_path / "stream").is_dir()


def test_make_targets_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    named = re.findall(r"\bmake ([a-z-]+)", "\n".join(blocks("sh")))
    assert named and set(named) <= set(targets)
