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
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    "A wheel built from an sdist built from a copy of the checkout: what is missing in the sdist is missing here."
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
    modules = {f"pptrain/{p.relative_to(ROOT / 'pptrain').as_posix()}" for p in (ROOT / "pptrain").rglob("*.py")}
    missing = sorted((modules | {"pptrain/py.typed"}) - names)
    assert not missing, f"the wheel lacks {missing}"
    strangers = sorted(n for n in names if not n.startswith("pptrain") or n.startswith(("pptrain/nbs", "pptrain/tests")))
    assert not strangers, f"the wheel holds what does not belong there: {strangers}"


@pytest.mark.skipif(not REPLICATIONS, reason="no replication notebooks yet")
def test_wheel_holds_the_replications(wheel):
    archive = zipfile.ZipFile(wheel)
    shipped = {n.removeprefix("pptrain/notebooks/") for n in archive.namelist() if n.startswith("pptrain/notebooks/")}
    assert shipped == set(REPLICATIONS), "pptrain/notebooks must hold the notebooks of nbs/replication"
    for name in REPLICATIONS:
        assert archive.read(f"pptrain/notebooks/{name}") == (ROOT / "nbs" / "replication" / name).read_bytes(), name


def test_metadata(wheel, settings):
    archive = zipfile.ZipFile(wheel)
    info = f"pptrain-{settings['version']}.dist-info"
    entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert settings["console_scripts"].replace("=", " = ") in entry_points
    assert "pptrain = pptrain._modidx:d" in entry_points, "nbdev finds documentation links by this entry point"
    metadata = archive.read(f"{info}/METADATA").decode()
    required = {r.replace("-", "_") for r in re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.M)}
    assert required == {re.split(r"[<>=]", r)[0] for r in settings["requirements"].split()}
    assert not {"nbdev", "fastcore"} & required, "authoring tools belong to the dev extra"
    assert f"Requires-Python: >={settings['min_python']}" in metadata


def test_works_outside_the_checkout(wheel, tmp_path):
    "Unpacked somewhere else, with the checkout out of reach, the package imports and finds its notebooks."
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = ("import sys; sys.path.insert(0, 'site'); import pptrain, importlib.resources as r;"
            "print(pptrain.__file__); print(*sorted(p.name for p in (r.files('pptrain')/'notebooks').glob('*.ipynb'))"
            " if (r.files('pptrain')/'notebooks').is_dir() else '')")
    place, notebooks = run(sys.executable, "-c", code, cwd=tmp_path).splitlines()
    assert place.startswith(("site", str(tmp_path)))
    assert notebooks.split() == REPLICATIONS
