"""A small version of bench/faults.py: `kill -9` at random moments of both stages."""
from __future__ import annotations

import importlib.util
import sys

import pytest
from conftest import ROOT


def bench(name: str, monkeypatch):
    "A script of bench/ as a module, with its folder on the path, as where it is run."
    monkeypatch.syspath_prepend(ROOT / "bench")
    spec = importlib.util.spec_from_file_location(name, ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module      # a dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_two_kills_of_fit(tmp_path, monkeypatch):
    "One of the whole group, one of the driver alone; then what is done is not repeated."
    faults = bench("faults", monkeypatch)
    out = tmp_path / "faults.json"
    rows = faults.run(faults.JOBS["fit"], 2, 7, out, tmp_path)
    assert [row["whom"] for row in rows] == ["group", "driver"]
    for row in rows:
        assert row["same"] and row["status"] == 0 and row["starts"] == 1, row
    monkeypatch.setattr(faults.Job, "start", None)
    assert faults.run(faults.JOBS["fit"], 2, 7, out, tmp_path) == rows
