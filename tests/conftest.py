"""What all tests share: the checkout, its notebooks, and a place with no network."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# read by huggingface_hub at import: tests never leave this machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["served"]   # JupyterLab, Voilà and a browser, for the tests that ask for them

ROOT = Path(__file__).resolve().parents[1]


def notebooks() -> list[Path]:
    "Every notebook, relative to the root of the checkout; the front door once, as index.ipynb."
    files = sorted((ROOT / "nbs").rglob("*.ipynb"))
    pages = [path.relative_to(ROOT) for path in files if not path.is_symlink()]
    shown = [page for page in pages if not any(part[0] in "._" for part in page.parts)]
    return [Path("index.ipynb"), *shown]


def cells_of(notebook: Path) -> list[dict]:
    "The cells of a notebook named as in `notebooks`, their source joined to one string."
    cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def repo_files() -> list[Path]:
    "What a commit of this tree would hold: tracked files and new ones that git does not ignore."
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    names = listed.stdout.split("\0")
    return [Path(name) for name in names if name and os.path.lexists(ROOT / name)]


def tool(name: str) -> str:
    "A console script of the environment that runs the tests."
    return str(Path(sys.executable).with_name(name))


def copy_repo(folder: Path) -> Path:
    "A copy of the checkout in `folder`, links kept as links; without git the test is skipped."
    try:
        files = repo_files()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in files:
        target = folder / "repo" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return folder / "repo"


@pytest.fixture
def repo_copy(tmp_path) -> Path:
    "A copy of the checkout that a test may change."
    return copy_repo(tmp_path)
