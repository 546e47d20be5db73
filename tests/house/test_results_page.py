"""REPLICATIONS.md is what results/ say: verdicts by the rule, a log of failures, pictures."""
from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import replications
import results
import still_open
from conftest import ROOT

from pptrain.errors import InputError
from pptrain.study import decide

CLAIMS = [{"claim": "The warm-up finds more", "paper": "11 → 89 %", "measure": "accuracy",
           "variant": "warm", "main": True, "smallest_effect": .05},
          {"claim": "Does it beat noise?", "paper": "", "measure": "accuracy", "variant": "warm",
           "against": "noise", "kind": "comparison"}]
README = """# Looking

A paragraph that says
what was asked.

Another one.

**Claims.** The first one
is the paper's.

**Failed attempts**
* 2026-01-03 10:30, too small: nobody moved,
  on any seed.
* 2026-01-02, too short.

**After that** nothing failed.
* 2026-01-09, this is no failure.
"""
LEVELS = {"scratch": .3, "noise": .31, "warm": .8}


def table(seeds, mark="a") -> pd.DataFrame:
    "Rows of a study in which `warm` finds half more needles than the others."
    rows = []
    for arm, level in LEVELS.items():
        for seed in seeds:
            noise = np.random.default_rng([seed, len(arm)]).normal(0, .01)
            rows += [("looking", arm, seed, step, 64 * step, "accuracy",
                      step / 20 * level + noise, mark, "") for step in (10, 20)]
    return pd.DataFrame(rows, columns=[*results.COLUMNS, "settings", "diverged"])


@pytest.fixture
def root(tmp_path, monkeypatch):
    "A checkout with one study of six seeds, where a laptop's night is not counted anew."
    night = {"seeds": 8, "tokens": 1e8, "flops": 2e14}
    monkeypatch.setattr(still_open, "laptop_costs",
                        lambda family, seeds=None: night | {"seeds": seeds or 8})
    folder = tmp_path / "results/looking"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(README)
    (folder / "claims.json").write_text(json.dumps(CLAIMS))
    (folder / "study.json").write_text(json.dumps({"preset": "condattendstream_8"}))
    table(range(1, 4)).to_csv(folder / "rows-1-3.csv", index=False)
    table(range(4, 7)).to_csv(folder / "rows-4-6.csv", index=False)
    cells = [{"cell_type": "markdown", "id": name, "metadata": {}, "source": [f"{mark}\n", "old"]}
             for name, mark in zip("ab", replications.CELLS)]
    cells.append({"cell_type": "markdown", "id": "c", "metadata": {}, "source": ["mine"]})
    (tmp_path / "index.ipynb").write_text(json.dumps({"cells": cells}))
    return tmp_path


def test_the_front_page_has_a_claim_once_as_it_ran_last(root):
    for date, name in (("2026-01-05", "looking"), ("2026-02-01", "looking_at_one_rate")):
        night = root / f"results/laptop/{date}/runs/{name}"
        shutil.copytree(root / "results/looking", night)
    (root / "results/looking/claims.json").unlink()         # explored: says nothing there
    (night / "rows-4-6.csv").unlink()
    written = json.loads(replications.render(root)["index.ipynb"])
    listed = "".join(written["cells"][1]["source"])
    assert listed.count("looking") == 1 and "3 seeds" in listed, listed


def test_of_two_runs_of_a_paper_the_front_page_has_the_newest(root):
    for date, name in (("2026-01-05", "r2_text"), ("2026-02-01", "r2_dyck")):
        night = root / f"results/laptop/{date}/runs/{name}"
        shutil.copytree(root / "results/looking", night)
        said = [CLAIMS[0] | {"claim": f"{name} finds more"}, CLAIMS[1]]
        (night / "claims.json").write_text(json.dumps(said))
    listed = "".join(json.loads(replications.render(root)["index.ipynb"])["cells"][1]["source"])
    assert "r2_dyck finds more" in listed and "r2_text" not in listed and "* looking" in listed
    (root / "results/laptop/2026-01-05/runs/r2_text/study.json").write_text('{"corpus": "sotu"}')
    listed = "".join(json.loads(replications.render(root)["index.ipynb"])["cells"][1]["source"])
    assert listed.count("r2_") == 2 and "; sotu: **replicated**" in listed, listed


def test_links_of_a_readme_lead_on_from_the_page(root):
    said = README.replace("was asked", "[was](../other/README.md) [asked](plan.py) [x](https://a.b)")
    (root / "results/looking/README.md").write_text(said)
    text = replications.render(root)["REPLICATIONS.md"]
    for link in ("[was](results/other/README.md)", "[asked](results/looking/plan.py)",
                 "[x](https://a.b)"):
        assert link in text, link


def test_a_study_of_text_shows_how_far_each_arm_is_ahead(root):
    folder = root / "results/looking"
    assert not any("-ahead" in name for name in replications.render(root)), "a skill reads no text"
    (folder / "study.json").write_text(json.dumps({"preset": "smoke", "corpus": "docs"}))
    for path in folder.glob("rows*"):
        rows = pd.read_csv(path).replace({"accuracy": "eval_loss"})
        rows.assign(value=5 - rows.value).to_csv(path, index=False)
    (folder / "claims.json").unlink()
    study, = results.read_studies(root)
    found = results.ahead(study)
    assert set(found.variant) == {"noise", "warm"} and set(found.step) == {10, 20}
    ends = found[found.step == 20].groupby("variant").value.mean()
    assert abs(ends.warm - .5) < .02 and abs(ends.noise) < .02, "above zero: less loss"
    files = replications.render(root)
    assert "docs/pictures/looking-ahead.svg)" in files["REPLICATIONS.md"]
    assert "<svg" in files["docs/pictures/looking-ahead.svg"]


def test_the_front_picture_is_that_of_the_newest_run(root):
    for date in ("2026-02-01", "2026-01-05"):
        shutil.copytree(root / "results/looking", root / f"results/laptop/{date}/runs/looking")
    shutil.rmtree(root / "results/looking")
    written = json.loads(replications.render(root)["index.ipynb"])
    assert "docs/pictures/laptop-2026-02-01-looking.svg" in "".join(written["cells"][0]["source"])


def test_verdicts_are_those_of_the_rule(root):
    study, = results.read_studies(root)
    verdicts = study.verdicts()
    rows = study.rows[study.rows.step == 20].set_index(["variant", "seed"]).value
    gains = [rows["warm", seed] - rows["scratch", seed] for seed in range(1, 7)]
    rule = decide(gains, smallest_effect=.05)
    assert verdicts.verdict.tolist() == [rule.verdict, "better"]
    assert rule.verdict == "replicated"
    assert verdicts.p[0] == rule.p and abs(verdicts.effect[0] - rule.effect) < 1e-12
    text = replications.render(root)["REPLICATIONS.md"]
    claim = next(line for line in text.splitlines() if "The warm-up finds more" in line)
    assert "replicated" in claim and f"{rule.effect:+.3g}" in claim and "11 → 89 %" in claim
    before, _, own = text.partition("our own account")
    assert "beat noise" not in before and "beat noise" in own


def test_the_index_says_what_the_rows_say(root):
    written = json.loads(replications.render(root)["index.ipynb"])
    argument, listed, mine = ("".join(cell["source"]) for cell in written["cells"])
    assert "**replicated**" in argument and "*warm* 0.8" in argument and "old" not in argument
    assert "docs/pictures/looking.svg" in argument
    assert "**replicated**" in listed and "11 → 89 %" in listed
    assert max(map(len, (argument + listed).splitlines())) <= replications.WIDE
    assert mine == "mine"


def test_many_studies_fit_the_front_page(root):
    for i in range(9):
        another = shutil.copytree(root / "results/looking", root / f"results/looking_{i}")
        named = (another / "claims.json").read_text()
        (another / "claims.json").write_text(named.replace("The warm-up finds", f"{i} finds"))
    written = json.loads(replications.render(root)["index.ipynb"])
    listed = "".join(written["cells"][1]["source"]).splitlines()
    assert len(listed) <= replications.ROOM + 3 and max(map(len, listed)) <= replications.WIDE
    assert " ".join(listed).count("**replicated**") == 10


def test_failed_attempts_are_logged_by_date(root):
    noted = "date,study,what\n2026-01-05,elsewhere,never started\n"
    (root / "results/attempts.csv").write_text(noted)
    text = replications.render(root)["REPLICATIONS.md"]
    log = text[text.index("## Failed attempts"):].splitlines()[2:]
    assert log == ["* 2026-01-02, looking: too short.",
                   "* 2026-01-03, looking: too small: nobody moved, on any seed.",
                   "* 2026-01-05, elsewhere: never started"]
    assert "A paragraph that says what was asked." in text and "Another one" not in text
    assert "**Claims.** The first one is the paper's.\n" in text


def open_families(text):
    part = text.partition("## Still open")[2].partition("## Failed")[0]
    return [line.split("--family ")[1].split("`")[0].split()[0] for line in part.splitlines()
            if "--family" in line]


def test_what_is_open_says_what_it_takes(root):
    folder = root / "results/looking"
    text = replications.render(root)["REPLICATIONS.md"]
    skills = ("haystack", "addition")         # their notebooks say what they train
    everybody = [name for name in still_open.replications() if name not in skills]
    assert open_families(text) == everybody, "a study that no notebook ran decides for none"
    assert "| 8 | 100M | 200T |" in text and "cellular automata" in text
    folder.rename(root / "results/r4_looking")      # another study of the same paper
    assert open_families(replications.render(root)["REPLICATIONS.md"]) == everybody
    folder = (root / "results/r4_looking").rename(root / "results/r4_simpler_tasks")
    left = [family for family in everybody if family != "simpler_tasks"]
    assert open_families(replications.render(root)["REPLICATIONS.md"]) == left
    for path in folder.glob("rows-4*"):       # three seeds decide nothing
        path.unlink()
    text = replications.render(root)["REPLICATIONS.md"]
    assert open_families(text) == everybody
    line = next(line for line in text.splitlines() if "--family simpler_tasks" in line)
    assert "| 6 | 100M |" in line, "three would not decide"
    assert "--seeds $(seq -s, 101 106)`" in line, "those already seen are not counted again"


def test_what_is_planned_is_listed_until_it_has_rows(root):
    (root / "results/planned.csv").write_text("study,what,plan\nagain,once more,results/plan.py\n")
    text = replications.render(root)["REPLICATIONS.md"]
    assert "* again: once more: [plan](results/plan.py)" in text
    shutil.copytree(root / "results/looking", root / "results/again")
    assert "once more" not in replications.render(root)["REPLICATIONS.md"]


def test_a_plan_alone_is_no_study(root):
    (root / "results/parts").mkdir()
    (root / "results/parts/plan.py").write_text("seeds = [11, 12]\n")
    assert [study.name for study in results.read_studies(root)] == ["looking"]


def test_what_was_not_run_says_where_it_was(root):
    later = root / "results/later/looking"
    shutil.copytree(root / "results/looking", later)
    for path in (root / "results/looking").glob("rows*"):
        rows = pd.read_csv(path)
        rows[rows.variant != "warm"].to_csv(path, index=False)
    text = replications.render(root)["REPLICATIONS.md"]
    lines = [line for line in text.splitlines() if "The warm-up finds more" in line]
    assert lines[0].endswith("| replicated |")
    assert lines[1].endswith("| not run; run in [later-looking](#later-looking) |")


def test_each_arm_says_what_it_cost_and_had_learnt(root):
    folder = root / "results/looking"
    facts = {"arms": {"warm": "components from set"}, "corpus_sha256": "ab" * 32,
             "rates": {"warm": {"text": .01}}, "guessing_of": {"warm": {"loss": 4., "accuracy": 0}}}
    (folder / "facts.json").write_text(json.dumps(facts))
    costs = {"warmup_tokens": 640, "flops": 2e9, "warmup_eval_loss": 1., "text_lr": .01}
    last = table(range(1, 7))[lambda rows: (rows.variant == "warm") & (rows.step == 20)]
    more = [last.assign(metric=name, value=value) for name, value in costs.items()]
    pd.concat([table(range(1, 7)), *more]).to_csv(folder / "rows-1-3.csv", index=False)
    text = replications.render(root)["REPLICATIONS.md"]
    assert "a warm-up of 50 % of these" in text and "ab" * 32 in text
    folded = text.partition("<details>")[2].partition("</details>")[0]
    warm = next(line for line in folded.splitlines() if line.startswith("| warm"))
    assert warm.startswith("| warm | 6 | 640 | 1,280 | 1,920 | 2e+09 | – | 0.01 | partly, 75% of")
    assert warm.endswith(": loss 1, by frequency 4 | components from set |")


def test_steps_are_no_tokens(root):
    (root / "results/looking/claims.json").unlink()
    for path in (root / "results/looking").glob("rows*"):
        path.unlink()
    (root / "results/looking/rows.csv").write_text(
        "stage,arm,seed,step,accuracy\nhaystack,scratch,1,10,.1\nhaystack,scratch,1,20,.2\n")
    study, = results.read_studies(root)
    assert study.rows.tokens.isna().all() and results.has_curves(study)
    assert "<details>" not in replications.render(root)["REPLICATIONS.md"]


def test_where_nobody_knows_how_many_seeds_would_decide_none_are_named(root):
    rows = table(range(1, 7))
    rows.loc[rows.variant == "warm", "value"] = rows.value[rows.variant == "scratch"].to_numpy()
    for path in (root / "results/looking").glob("rows*"):
        path.unlink()
    rows.to_csv(root / "results/looking/rows.csv", index=False)
    text = replications.render(root)["REPLICATIONS.md"]
    line = next(line for line in text.splitlines() if "The warm-up finds more" in line)
    assert "undecided (all 6 differences are the same" in line and "seeds would" not in line


def test_the_page_says_the_size_that_was_counted_and_the_data_that_was_read(root):
    folder = root / "results/looking"
    study = {"preset": "condattendstream_8", "overrides": {"length": 9}}
    (folder / "study.json").write_text(json.dumps(study))
    facts = {"parameters": {"text": {"all": 138_560}}}
    (folder / "facts.json").write_text(json.dumps(facts))
    claims = [CLAIMS[0] | {"setting": "condattendstream_30"}]
    (folder / "claims.json").write_text(json.dumps(claims))
    text = replications.render(root)["REPLICATIONS.md"]
    claim = next(line for line in text.splitlines() if "The warm-up finds more" in line)
    assert claim.endswith("| 6 | 0.139M, 1,280 text tokens | replicated |")
    assert "0.139M parameters" in text
    assert "data condattendstream_8 length=9, the paper's condattendstream_30" in text


def test_pictures_follow_the_theme_and_mark_what_guessing_scores(root):
    files = replications.render(root)
    curves = files["docs/pictures/looking.svg"]
    assert "prefers-color-scheme:dark" in curves and "currentColor" in curves
    assert all(f">{arm}<" in curves.replace("-->", "") for arm in LEVELS)
    assert "guessing 0.008; some value of the context 0.340" in curves
    assert "warm vs scratch" in files["docs/pictures/forest.svg"]
    assert files == replications.render(root), "the same rows, the same bytes"


def test_without_claims_a_study_explores(root):
    (root / "results/looking/claims.json").unlink()
    files = replications.render(root)
    assert "exploratory: no claim" in files["REPLICATIONS.md"]
    assert "docs/pictures/forest.svg" not in files
    assert "decides nothing" in files["index.ipynb"]


def test_without_rows_nothing_is_claimed(root):
    for path in (root / "results/looking").glob("rows*"):
        path.unlink()
    files = replications.render(root)
    assert "no rows yet" in files["REPLICATIONS.md"]
    assert set(files) == {"REPLICATIONS.md", "index.ipynb"}


def test_the_tuning_seed_is_not_counted(root):
    (root / "results/looking/facts.json").write_text(json.dumps({"tuning_seed": 6}))
    study, = results.read_studies(root)
    assert study.seeds == 5 and study.verdicts().verdict[0] == "undecided"


@pytest.mark.parametrize("damage, says", [
    (lambda folder: (folder / "README.md").unlink(), "no README.md"),
    (lambda folder: table([7], mark="b").to_csv(folder / "rows-7.csv", index=False),
     "several settings"),
    (lambda folder: (folder / "README.md").write_text(README.replace("2026-01-02", "once")),
     "begins with its date"),
    (lambda folder: (folder / "claims.json").write_text('{"claim": 1}'), "claims.json is damaged")])
def test_what_cannot_be_read_is_refused(root, damage, says):
    damage(root / "results/looking")
    with pytest.raises(InputError, match=says):
        replications.render(root)


def test_a_run_is_taken_in(root, tmp_path):
    run = tmp_path / "runs/again"
    run.mkdir(parents=True)
    table([1, 2]).to_csv(run / "seeds-1-2.csv", index=False)
    (run / "claims.json").write_text(json.dumps(CLAIMS))
    place, = results.take(run, root)
    assert place == root / "results/again"
    (place / "README.md").write_text("# Again\n\nThe same again.\n")
    assert [study.seeds for study in results.read_studies(root)] == [2, 6]


def test_committed_pages_are_what_the_results_say():
    files = replications.render()
    for name, text in files.items():
        path = ROOT / name
        assert path.exists(), f"{name} is missing: python docs/replications.py"
        if path.suffix != ".svg":       # letters are set by the machine's matplotlib
            assert path.read_text(encoding="utf-8") == text, f"{name} is stale: make readme"
