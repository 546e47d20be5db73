"""The committed files agree: notebooks, exported modules, README, stored outputs."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from chapters import LIMIT, is_live, stored_bytes
from conftest import ROOT, cells_of, notebooks, tool
from readme import render, stored


def is_front(name: str) -> bool:
    "Written by hand: the front of a room, and two that keep earlier names."
    return name.endswith("__init__.py") or name in ("eval.py", "grid.py")


def modules(root: Path) -> dict[str, bytes]:
    "Every Python file of the package: {path below pptrain/: bytes}."
    package = root / "pptrain"
    return {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*.py")}


def nbdev(command: str, root: Path) -> None:
    done = subprocess.run([tool(command)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"


def differing(old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    return sorted(name for name in old | new if old.get(name) != new.get(name))


def test_export_in_sync(repo_copy):
    "pptrain/ is what the notebooks export, to the byte, and holds no module that none writes."
    committed = modules(repo_copy)
    for name in committed:
        if not is_front(name):
            (repo_copy / "pptrain" / name).unlink()
    nbdev("nbdev_export", repo_copy)
    exported = modules(repo_copy)
    orphans = sorted(committed.keys() - exported.keys())
    assert not orphans, f"no notebook exports these any more, remove them from pptrain/: {orphans}"
    stale = differing(committed, exported)
    assert not stale, f"differ from their notebooks (edit those, then `make export`): {stale}"


def test_export_leaves_hand_written_lines_alone(repo_copy):
    "nbdev writes `__version__` into pptrain/__init__.py and touches nothing else there."
    init = repo_copy / "pptrain" / "__init__.py"
    before = init.read_bytes()
    init.write_bytes(before + b"\nkept = True\n")
    nbdev("nbdev_export", repo_copy)
    assert init.read_bytes() == before + b"\nkept = True\n"


def test_notebooks_clean(repo_copy):
    before = {str(nb): (repo_copy / nb).read_bytes() for nb in notebooks()}
    nbdev("nbdev_clean", repo_copy)
    dirty = differing(before, {str(nb): (repo_copy / nb).read_bytes() for nb in notebooks()})
    assert not dirty, f"hold execution noise (run `make clean-notebooks`): {dirty}"
    assert (repo_copy / "nbs" / "index.ipynb").is_symlink(), "must stay a link to ../index.ipynb"


def test_readme_in_sync():
    old, new = stored(), render()
    stale = differing(old, new)
    assert not stale, f"out of step with index.ipynb (run `make readme`): {stale}"


@pytest.mark.parametrize("notebook", notebooks(), ids=str)
def test_stored_outputs(notebook):
    "Outputs are small and show without a kernel."
    meta = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["metadata"]
    assert "widgets" not in meta, f"{notebook} stores widget state (remove metadata.widgets)"
    cells = cells_of(notebook)
    outputs = [(cell["id"], output) for cell in cells for output in cell.get("outputs", [])]
    shown = [(name, mimetype) for name, o in outputs for mimetype in o.get("data", {})]
    live = [(name, mimetype) for name, mimetype in shown if is_live(mimetype)]
    assert not live, f"{notebook} stores outputs that need a kernel or a script: {live}"
    failed = [name for name, o in outputs if o["output_type"] == "error"]
    assert not failed, f"{notebook} stores an uncaught error in cells {failed}"
    size = stored_bytes(cells)
    assert size <= LIMIT, f"{notebook} stores {size} bytes of outputs, at most {LIMIT}"


def test_ids_are_unique():
    "A cell id names one cell: exported modules point back with it."
    for notebook in notebooks():
        ids = [c["id"] for c in cells_of(notebook)]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        assert not twice, f"{notebook} uses these cell ids twice: {twice}"


def test_links():
    "Links carry the front door into the book, replications and vectors into the package."
    assert (ROOT / "nbs/index.ipynb").resolve() == ROOT / "index.ipynb"
    assert (ROOT / "pptrain/notebooks").resolve() == ROOT / "nbs/replication"
    assert (ROOT / "pptrain/vectors").resolve() == ROOT / "tests/vectors"
