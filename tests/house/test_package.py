"""What pip installs: built from the sdist, as a user gets it, and used outside the checkout."""
from __future__ import annotations

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, copy_repo

pytestmark = pytest.mark.slow
REPLICATIONS = sorted(p.name for p in (ROOT / "nbs" / "replication").glob("*.ipynb"))


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    said = (done.stdout + done.stderr)[-5000:]
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{said}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    "A wheel, from an sdist, from a copy of the checkout: what the sdist lacks is missing here."
    root = copy_repo(tmp_path_factory.mktemp("package"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", root / "dist", cwd=root)
    return next((root / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def settings() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


def test_wheel_holds_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pptrain").rglob("*.py")}
    needed = modules - {"pptrain/_modidx.py"}      # for those who have the notebooks
    missing = sorted((needed | {"pptrain/py.typed"}) - names)
    assert not missing, f"the wheel lacks {missing}"
    strangers = sorted(n for n in names if not n.startswith(("pptrain/", "pptrain-")))
    assert not strangers, f"the wheel holds what does not belong there: {strangers}"
    archive = zipfile.ZipFile(wheel)
    for name in needed:      # line by line as here, without the names of notebooks' cells
        own = (ROOT / name).read_text(encoding="utf-8")
        assert archive.read(name).decode() == re.sub("^# %% .*$", "# %%", own, flags=re.M), name


@pytest.mark.skipif(not REPLICATIONS, reason="no replication notebooks yet")
def test_wheel_holds_the_replications(wheel):
    archive = zipfile.ZipFile(wheel)
    shipped = {Path(n).name for n in archive.namelist() if n.startswith("pptrain/notebooks/")}
    assert shipped == set(REPLICATIONS), "pptrain/notebooks must hold those of nbs/replication"
    for name in REPLICATIONS:
        original = (ROOT / "nbs/replication" / name).read_bytes()
        packed = archive.read(f"pptrain/notebooks/{name}")
        assert packed == original, f"{name} is not the same"


def test_wheel_holds_vectors_of_every_family(wheel):
    "`pptrain parity FAMILY` replays them; they are most of what the wheel weighs, so not more."
    archive = zipfile.ZipFile(wheel)
    shipped = {Path(n).parent.name for n in archive.namelist() if n.startswith("pptrain/vectors/")}
    assert shipped == {p.name for p in (ROOT / "tests/vectors").iterdir() if p.is_dir()}
    assert wheel.stat().st_size < 1_000_000


def test_metadata(wheel, settings):
    archive = zipfile.ZipFile(wheel)
    info = f"pptrain-{settings['version']}.dist-info"
    entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert settings["console_scripts"].replace("=", " = ") in entry_points
    assert not [name for name in archive.namelist() if "_modidx" in name + entry_points]
    metadata = archive.read(f"{info}/METADATA").decode()
    required = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.M)
    required = {name.replace("-", "_") for name in required}
    assert required == {re.split(r"[<>=]", r)[0] for r in settings["requirements"].split()}
    assert not {"nbdev", "fastcore"} & required, "authoring tools belong to the dev extra"
    assert f"Requires-Python: >={settings['min_python']}" in metadata


def test_works_outside_the_checkout(wheel, tmp_path):
    "Unpacked elsewhere, the checkout out of reach, the package imports and finds its notebooks."
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """if True:
        import sys; sys.path.insert(0, "site")
        import importlib.resources, pptrain
        folder = importlib.resources.files("pptrain") / "notebooks"
        print(pptrain.__file__)
        print(*sorted(p.name for p in folder.iterdir()) if folder.is_dir() else "")"""
    place, notebooks = run(sys.executable, "-c", code, cwd=tmp_path).splitlines()
    assert place.startswith(("site", str(tmp_path)))
    assert notebooks.split() == REPLICATIONS
