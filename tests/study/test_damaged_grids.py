"""A grid of which something is damaged: it is named in one line, and the rest is reported."""
from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from pptrain.errors import InputError
from pptrain.study import COLUMNS, Claim, save_results, write_report
from pptrain.study.gathering import GridResults
from pptrain.study.report import report_heads

CLAIM = Claim("it helps", "a lot", "loss_gain", "transferred")


def rows_of(study: str, seeds: list[int], gain: float = 0.3) -> pd.DataFrame:
    "Both sides of the claim, at four points of a curve."
    rows = []
    for seed in seeds:
        for variant, lower in (("scratch", 0), ("transferred", gain + seed / 100)):
            for step in range(4):
                place = (study, variant, seed, step, 100 * step)
                rows.append((*place, "eval_loss", 4 - step * (1 + lower) / 3))
            rows.append((study, variant, seed, 0, 0, "warmup_tokens", 100.0))
    return pd.DataFrame(rows, columns=COLUMNS)


def a_run(folder: Path, name: str, study: str, seeds: list[int], **settings) -> dict:
    "Files of a finished run, and its entry in the manifest."
    place = folder / "runs" / name
    place.mkdir(parents=True)
    save_results(place, rows_of(study, seeds), [CLAIM])
    (place / "study.json").write_text(json.dumps({"study": study, "text_lr": 1e-3} | settings))
    return {"id": name, "study": study, "status": "done", "seconds": 1.0, "error": None}


def a_grid(folder: Path, *runs: dict) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"profile": "demo", "runs": runs}))
    return folder


@pytest.fixture
def grid(tmp_path):
    "A folder with two studies of one run each."
    return a_grid(tmp_path, a_run(tmp_path, "one-0", "one", [1, 2, 3]),
                  a_run(tmp_path, "two-0", "two", [1, 2, 3]))


def effects(folder: Path) -> dict[str, int]:
    "Study → pairs that its claim was judged by."
    claims = pd.read_csv(folder / "claims.csv")
    return dict(zip(claims.study, claims.n))


DAMAGE = {"empty": b"", "cut": lambda b: b[:len(b) // 2], "other bytes": b"\xff\xfe\x00{",
          "another kind": b"3"}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["rows.csv", "claims.json", "study.json"])
def test_a_damaged_file_is_one_line(grid, capsys, name, damage):
    path = grid / "runs" / "one-0" / name
    new = DAMAGE[damage]
    path.write_bytes(new(path.read_bytes()) if callable(new) else new)
    write_report(grid)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"runs/one-0/{name}" in err, err
    assert f"one-0/{name}" in (grid / "report.md").read_text()
    assert f"one-0/{name}" in (grid / "report.html").read_text()
    assert effects(grid)["two"] == 3
    assert effects(grid).get("one") == {"rows.csv": 0, "claims.json": None, "study.json": 3}[name]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 5000, "\0"])
def test_a_damaged_manifest_is_refused(grid, text):
    (grid / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="manifest.json") as refusal:
        write_report(grid)
    assert "\n" not in str(refusal.value) and not (grid / "report.md").exists()


FACTS = {"arms": {"scratch": "fresh"}, "seeds": [1], "guessing": {"loss": 9., "accuracy": .1}}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_facts_are_not_passed_over_in_silence(grid, capsys, damage):
    path, new = grid / "runs/one-0/facts.json", DAMAGE[damage]
    written = json.dumps(FACTS).encode()
    path.write_bytes(new(written) if callable(new) else new)
    write_report(grid)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "runs/one-0/facts.json" in err, err


LOOK = "metric,model_a,model_b,component,value\ncrossed,transferred,,all,0.5\n"
CROSSED = {"arm": "transferred", "policy": "copy", "rows": [
    {"component": "attention", "what": "copied", "tensors": 2, "numbers": 32}]}
BESIDE = {"inside.csv": LOOK, "transfers/transferred-1.json": json.dumps(CROSSED)}


@pytest.mark.parametrize("damage", [*DAMAGE, "no numbers", "no columns"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_damaged_look_inside_is_named(grid, capsys, name, damage):
    path, whole = grid / "runs/one-0" / name, BESIDE[name].encode()
    path.parent.mkdir(exist_ok=True)
    changes = DAMAGE | {"no numbers": whole.replace(b"0.5", b"half").replace(b"32", b'"many"'),
                        "cut": lambda b: b[:20], "no columns": b'{"arm": 1}\n'}
    new = changes[damage]
    path.write_bytes(new(whole) if callable(new) else new)
    write_report(grid)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"runs/one-0/{name}" in err, err
    assert Path(name).name in (grid / "report.md").read_text()
    path.write_bytes(whole)
    write_report(grid)
    assert capsys.readouterr().err == "" and "crossed" in (grid / "report.html").read_text()


def test_each_study_is_told_by_the_facts_of_its_own_runs(tmp_path):
    sizes = {"a": 123_000, "b": 456_000}
    runs = [a_run(tmp_path, "a", "one", [1, 2]), a_run(tmp_path, "b", "one", [3, 4], text_lr=1e-2)]
    for name, count in sizes.items():
        facts = FACTS | {"parameters": {"text": {"all": count, "without_embeddings": 1}}}
        (tmp_path / "runs" / name / "facts.json").write_text(json.dumps(facts))
    results = GridResults.read(a_grid(tmp_path, *runs))
    said = [" ".join(head.lines) for head in report_heads(results)]
    assert "123,000 parameters" in said[0] and "456,000 parameters" in said[1]
    assert [size.split(",")[0] for size in results.verdicts["size"]] == [
        "0.123M parameters", "0.456M parameters"]


def test_other_settings_are_no_more_seeds(tmp_path, capsys):
    runs = [a_run(tmp_path, "a", "one", [1, 2]), a_run(tmp_path, "b", "one", [3], text_lr=1e-2),
            a_run(tmp_path, "c", "one", [3])]
    write_report(a_grid(tmp_path, *runs))
    note = capsys.readouterr().err
    assert "not pooled" in note and "text_lr: 0.001 there, 0.01 here" in note
    assert sorted(effects(tmp_path).values()) == [1, 3]
    assert all(study.startswith("one (") for study in effects(tmp_path))
    assert list(pd.read_csv(tmp_path / "results.csv").columns) == COLUMNS


def test_a_seed_counts_once(tmp_path):
    runs = [a_run(tmp_path, "a", "one", [1, 2]), a_run(tmp_path, "b", "one", [2, 3])]
    doubled = tmp_path / "runs" / "b" / "rows.csv"
    table = pd.read_csv(doubled)
    pd.concat([table, table]).to_csv(doubled, index=False)
    write_report(a_grid(tmp_path, *runs))
    assert effects(tmp_path) == {"one": 3}


def only(folder: Path, run: dict, keep) -> None:
    "Of a run's rows those that `keep` names, as a query."
    path = folder / "runs" / run["id"] / "rows.csv"
    pd.read_csv(path).query(keep).to_csv(path, index=False)


def test_arms_of_a_seed_may_come_from_different_runs(tmp_path):
    whole, again = a_run(tmp_path, "a", "one", [*range(1, 7)]), a_run(tmp_path, "b", "one", [5, 6])
    only(tmp_path, again, "variant == 'scratch'")
    halves = [a_run(tmp_path, name, "two", [*range(1, 7)]) for name in "cd"]
    only(tmp_path, halves[0], "variant == 'scratch'")
    only(tmp_path, halves[1], "variant == 'transferred'")
    write_report(a_grid(tmp_path, whole, again, *halves), say=(said := []).append)
    assert effects(tmp_path) == {"one": 6, "two": 6} and said == []


def test_runs_that_claim_different_things_are_told(tmp_path, capsys):
    runs = [a_run(tmp_path, name, "one", [seed]) for seed, name in enumerate("ab")]
    changed = [asdict(CLAIM) | {"paper": "a little"}]
    (tmp_path / "runs/b/claims.json").write_text(json.dumps(changed))
    write_report(a_grid(tmp_path, *runs))
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "judged is what b claims" in err and "'it helps'" in err
    assert pd.read_csv(tmp_path / "claims.csv").paper.tolist() == ["a little"]


def test_finished_runs_that_are_gone_are_told(grid, capsys):
    (grid / "runs/one-0/claims.json").unlink()
    shutil.rmtree(grid / "runs/two-0")
    write_report(grid)
    first, second = capsys.readouterr().err.splitlines()
    assert "1 of 2 finished runs have no folder any more (runs/two-0)" in first
    assert "runs/one-0/claims.json is missing" in second and "claims.json" in report_of(grid)


def report_of(folder: Path) -> str:
    return (folder / "report.md").read_text()


def test_a_report_loses_no_rows_of_the_one_before(grid, capsys):
    write_report(grid)
    names = ("results.csv", "claims.csv")
    before = {name: (grid / name).read_bytes() for name in names}
    shutil.rmtree(grid / "runs/one-0")
    write_report(grid)
    assert "6 models that are in no run now, the first one, scratch, seed 1" in report_of(grid)
    [kept] = grid.glob("earlier/*")
    assert {name: (kept / name).read_bytes() for name in names} == before
    assert set(pd.read_csv(grid / "results.csv").study) == {"two"}
    capsys.readouterr()

    # as in a checkout whose run folders nobody has committed, in which a grid was begun
    rows = (grid / "results.csv").read_bytes()
    shutil.rmtree(grid / "runs")
    (grid / "runs").mkdir()
    for status in ("done", "waiting"):
        manifest = json.loads((grid / "manifest.json").read_text())
        runs = [run | {"status": status} for run in manifest["runs"]]
        (grid / "manifest.json").write_text(json.dumps({"runs": runs}))
        write_report(grid)
        assert (grid / "results.csv").read_bytes() == rows and effects(grid) == {"two": 3}
        assert "the tables are those of an earlier report" in capsys.readouterr().err
    assert list(grid.glob("earlier/*")) == [kept]


def test_a_mended_notebook_is_no_missing_run(tmp_path):
    same = {"parameters": {"seeds": [1, 2]}}
    failed = {"id": "old", "study": "one", "status": "failed", "error": "no luck"} | same
    write_report(a_grid(tmp_path, failed, a_run(tmp_path, "new", "one", [1, 2]) | same))
    assert "1 of 1 runs done" in report_of(tmp_path) and "no luck" not in report_of(tmp_path)


NAMES = ["../x", "/etc/x", "a|b", "<script>alert(1)</script>", "`x`", "two\nlines", "x" * 300,
         "$x_{", "[a](javascript:b)", "NA", "007"]


@pytest.mark.parametrize("study", NAMES)
def test_a_name_is_text_and_stays_in_its_folder(tmp_path, study):
    home = tmp_path / "a" / "grid"
    home.mkdir(parents=True)
    run = a_run(home, "safe", study, [1, 2, 3])
    claim = asdict(CLAIM) | {"claim": f"{study} helps | much"}
    (home / "runs" / "safe" / "claims.json").write_text(json.dumps([claim]))
    write_report(a_grid(home, run), say=[].append)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a"] and list(tmp_path.glob("a/*")) == [home]
    assert all(path.parent == home / "figures" for path in home.rglob("*.png"))
    assert GridResults.read(home).verdicts.study.tolist() == [study]
    markdown, page = (home / "report.md").read_text(), (home / "report.html").read_text()
    assert "<script>alert" not in page + markdown and "](javascript" not in markdown
    table = [line for line in markdown.splitlines() if line.startswith("| ")]
    columns = {line.replace("\\|", "").count("|") for line in table if "helps" in line}
    assert len(columns) == 1
