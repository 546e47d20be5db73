"""What lies under results/: a folder a study, as its run left it, and how its pictures are drawn.

    results/NAME/
      README.md      what was asked, in words; its first paragraph is quoted, and so is one that
                     begins with "**Claims.**", how to read them; the dated list under
                     "Failed attempts" (or "Log of failed attempts") goes into the log
      rows*.csv      the study's rows (`pptrain.study.COLUMNS`), some seeds a file
      claims.json    what was named beforehand; without it the study is exploratory
      study.json     its settings; facts.json: machine, versions, rates (both may be missing)

    results/attempts.csv    date,study,what: failed attempts that have no folder
    results/planned.csv     study,what,plan: what is written down and not run; left out of the page
                            as soon as there are rows of that study, or a folder of that name has

These are the files of a run's folder: `python docs/replications.py --take FOLDER` copies them.
"""
from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pptrain.errors import InputError
from pptrain.show import PALETTE, Picture, curves
from pptrain.study import COLUMNS, Claim, all_effects, judge_study
from pptrain.study.gathering import gather, read_claims, read_grid_manifest, read_rows

ROOT = Path(__file__).resolve().parents[1]
FAILED = re.compile(r"(?:#+ *|\*\*)(?:log of )?failed attempts.*", re.I)
DATED = re.compile(r"[*-] (\d{4}-\d\d-\d\d)(?: \d\d:\d\d)?,? *(.*)", re.S)
WORDS = {"condattendstream": "share of needles found"}     # what accuracy means, by preset
# letters and axes are `currentColor`, which follows the reader's theme
THEMES = ("<style>svg{color:#24292f}"
          "@media (prefers-color-scheme:dark){svg{color:#d0d7de}}</style>")


@dataclass
class Study:
    "A folder of results, read."
    name: str
    title: str
    lead: str                                           # its first paragraph
    reading: str                                        # how to read its claims; may be empty
    rows: pd.DataFrame
    claims: list[Claim] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)     # date, what happened
    folder: Path = ROOT / "results"

    @property
    def preset(self) -> str:
        "The data of its last stage, as far as they are known."
        return str(self.settings.get("preset") or "")

    @property
    def seeds(self) -> int:
        return self.rows.seed.nunique()

    def verdicts(self) -> pd.DataFrame:
        "One row per claim and comparison, as every report judges them; none without claims."
        if not self.claims or not len(self.rows):
            return pd.DataFrame(columns=["claim", "kind", "verdict", "effect", "measure"])
        profile = str(self.facts.get("profile", ""))
        judged = judge_study(self.rows, self.claims, self.settings, profile, self.facts)
        return judged.assign(study=self.name)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def failed_attempts(text: str) -> list[tuple[str, str]]:
    "The dated items of a README's list of failed attempts."
    found = []
    inside = False
    for block in re.split(r"\n(?=[*-] |#|\*\*|\n)", text):
        block = block.strip()
        if not block.startswith(("* ", "- ")) and block:
            inside = bool(FAILED.match(block))
        elif inside and (item := DATED.match(block)):
            found.append((item[1], " ".join(item[2].split())))
        elif inside and block:
            raise InputError(f"a failed attempt begins with its date, '* 2026-11-27 …': {block!r}")
    return found


def read_earlier(path: Path, name: str) -> pd.DataFrame:
    "Rows with columns stage, arm, seed, step, …, as those of a study; donors are left out."
    table = pd.read_csv(path)
    table = table[table.stage != "donor"].rename(columns={"arm": "variant"})
    measured = [c for c in table if c not in ("stage", "variant", "seed", "step")]
    long = table.melt(["variant", "seed", "step"], measured, "metric").dropna(subset="value")
    return long.assign(study=name, tokens=np.nan)[COLUMNS]      # nobody counted them


def read_all_rows(folder: Path) -> pd.DataFrame:
    "All rows of a study, one set for each arm and seed. Raises `InputError` for mixed settings."
    tables = []
    for path in sorted(folder.glob("rows*.csv")):
        earlier = path.read_text(encoding="utf-8").startswith("stage,")
        tables.append(read_earlier(path, folder.name) if earlier else read_rows(path))
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.concat(tables, ignore_index=True)
    if "settings" in rows and rows.settings.nunique() > 1:
        raise InputError(f"{folder}: rows of several settings ({', '.join(rows.settings.unique())})"
                         " are not pooled; give each its own folder")
    return rows.drop_duplicates(["variant", "seed", "step", "metric"], keep="last")


def read_study(folder: Path, name: str = "") -> Study:
    "A folder of results. Raises `InputError` for one that says nothing of itself, or is damaged."
    readme = folder / "README.md"
    if not readme.exists():
        raise InputError(f"{folder} has no README.md: say in a paragraph what was asked")
    text = readme.read_text(encoding="utf-8")
    title, _, rest = text.partition("\n")
    rows = read_all_rows(folder)
    facts = read_json(folder / "facts.json")
    if "tuning_seed" in facts:
        rows = rows[rows.seed != facts["tuning_seed"]]
    claims = []
    if (folder / "claims.json").exists():
        claims = [Claim(**claim) for claim in read_claims(folder / "claims.json")]
    settings = read_json(folder / "study.json") or read_json(folder / "card.json")
    said = [" ".join(paragraph.split()) for paragraph in rest.strip().split("\n\n")]
    reading = " ".join(paragraph for paragraph in said if paragraph.startswith("**Claims.**"))
    return Study(name or folder.name, title.lstrip("# "), said[0], reading, rows, claims, settings,
                 facts, failed_attempts(text), folder)


def read_studies(root: Path = ROOT) -> list[Study]:
    """Every study under results/, by name: a folder with rows or claims, or that says what it is
    (`laptop/2026-11-27/runs/r2_text` is `laptop-2026-11-27-r2_text`); a plan alone is none."""
    home = root / "results"
    folders = {path.parent for path in home.rglob("*")
               if path.name in ("claims.json", "README.md") or path.match("rows*.csv")}
    def name(folder: Path) -> str:
        return "-".join(part for part in folder.relative_to(home).parts if part != "runs")
    return [read_study(folder, name(folder)) for folder in sorted(folders)]


def noted_attempts(root: Path = ROOT) -> list[tuple[str, str, str]]:
    "Date, study and what happened of the failed attempts in results/attempts.csv."
    path = root / "results/attempts.csv"
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return list(table[["date", "study", "what"]].itertuples(index=False, name=None))


def planned(studies: list[Study], root: Path = ROOT) -> list[tuple[str, str, str]]:
    "Study, what it asks and its plan, of those in results/planned.csv that have no rows yet."
    path = root / "results/planned.csv"
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype=str)
    there = {name for study in studies for name in (*study.rows.study, study.folder.name)
             if len(study.rows)}
    table = table[~table.study.isin(there)]
    return list(table[["study", "what", "plan"]].itertuples(index=False, name=None))


def take(folder: Path, root: Path = ROOT) -> list[Path]:
    "Copy the studies of a grid's folder, or of one run's, into results/; the folders written."
    if not (folder / "manifest.json").exists():
        target = root / "results" / folder.name
        target.mkdir(parents=True, exist_ok=True)
        names = [*folder.glob("rows*.csv"), *folder.glob("seeds-*.csv")]
        for path in [*names, *(folder / f"{n}.json" for n in ("claims", "study", "facts"))]:
            if path.exists():
                shutil.copy(path, target / path.name.replace("seeds-", "rows-"))
        return [target]
    manifest = read_grid_manifest(folder, notes := [])
    gathered = gather(folder, manifest, notes)
    for note in notes: print("note:", note)
    places = []
    for study, rows in gathered.table.groupby("study"):
        target = root / "results" / re.sub(r"[^\w.-]+", "-", str(study)).strip("-")
        target.mkdir(parents=True, exist_ok=True)
        rows.to_csv(target / "rows.csv", index=False)
        run = next(r for r in manifest["runs"] if r["study"] == str(study).split(" (")[0])
        facts = read_json(folder / "runs" / run["id"] / "facts.json")
        facts["profile"] = manifest.get("profile", "")
        facts["seeds"] = sorted(map(int, set(rows.seed)))
        left = {"claims": gathered.claims.get(str(study), []), "facts": facts,
                "study": gathered.settings.get(str(study), {})}
        for name, value in left.items():
            (target / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
        places.append(target)
    return places


# pictures

def themed(picture: Picture, says: str = "") -> str:
    "The picture as an SVG file whose letters and axes follow the reader's light or dark theme."
    drawing = picture.inline()
    begin = drawing.index(">", drawing.index("<svg")) + 1
    title = f"<title>{says}</title>" if says else ""
    return drawing[:begin] + title + THEMES + drawing[begin:] + "\n"


def levels(preset: str) -> dict[str, float]:
    "What one scores without looking: guessing a value, and naming some value of the context."
    name, _, size = preset.partition("_")
    if name != "condattendstream" or not size.isdigit():
        return {}
    pairs = range(1, int(size) + 1)
    some = sum(1 / k for k in pairs) / len(pairs)
    return {"guessing": 1 / 127, "some value of the context": some}


def curve_picture(study: Study, metric: str = "accuracy", arms: list[str] | None = None) -> Picture:
    "A metric over the steps: mean of each arm, its seeds from lowest to highest, what guessing is."
    rows = study.rows[study.rows.metric == metric]
    if arms:
        rows = rows[rows.variant.isin(arms)]
    said = WORDS.get(study.preset.partition("_")[0], metric)
    title = f"{said}, {study.preset or study.name}: mean of {study.seeds} seeds, lowest to highest"
    picture = arm_curves(rows, title, said)
    known = levels(study.preset)
    for level in known.values():
        picture.figure.add_hline(level, line=dict(color="#7F7F7F", width=1, dash="dot"))
    if known:
        said = "; ".join(f"{name} {level:.3f}" for name, level in known.items())
        picture.figure.add_annotation(text=f"dotted: {said}", x=0, y=1.01, xref="paper",
                                      yref="paper", xanchor="left", yanchor="bottom")
    picture.figure.update_yaxes(rangemode="tozero")
    return picture


def ahead(study: Study, base: str = "scratch") -> pd.DataFrame:
    "How far the held-out loss of each arm and seed lies below that of `base`, after step 0."
    rows = study.rows[(study.rows.metric == "eval_loss") & (study.rows.step > 0)]
    usual = rows[rows.variant == base].set_index(["seed", "step"]).value.rename("usual")
    both = rows[rows.variant != base].join(usual, on=["seed", "step"], how="inner")
    return both.assign(value=both.usual - both.value)


def ahead_picture(study: Study) -> Picture:
    "What the warm-ups were worth at each step of the text: zero is scratch, below it they harm."
    title = (f"{study.folder.name}: nats per token ahead of scratch, mean of {study.seeds} seeds, "
             "lowest to highest")
    picture = arm_curves(ahead(study), title, "nats ahead (below 0: behind)")
    picture.figure.add_hline(0, line=dict(color="#7F7F7F", width=1, dash="dot"))
    return picture


def arm_curves(rows: pd.DataFrame, title: str, says: str) -> Picture:
    "A curve an arm over the steps, the highest at the end first."
    means = rows[rows.step == rows.step.max()].groupby("variant").value.mean()
    order = list(means.sort_values(ascending=False).index)
    rows = rows.assign(place=rows.variant.map(order.index)).sort_values(
        ["place", "seed", "step"], kind="stable")
    labels = {"step": "step", "value": says}
    picture = curves(rows, "step", "value", "variant", title=title, labels=labels)
    for trace in picture.figure.data:
        if trace.mode == "text" and trace.textfont.color == PALETTE[7]:
            trace.textfont.color = "#9A8F00"    # yellow letters cannot be read on white
    picture.inches = (6.6, 3.2)
    return picture


def has_curves(study: Study, metric: str = "accuracy") -> bool:
    return study.rows[study.rows.metric == metric].step.nunique() > 1


def is_behind_or_ahead(study: Study) -> bool:
    "Whether text was read after several beginnings, one of them scratch, and measured on the way."
    return "corpus" in study.settings and ahead(study).step.nunique() > 1


def forest_picture(verdicts: pd.DataFrame) -> Picture:
    "The effects of all studies in one forest, a panel a unit."
    named = verdicts.assign(variant=verdicts.study + ": " + verdicts.variant)
    return all_effects(named, title="Effects with 95 % intervals; zero: no difference")


def front_study(studies: list[Study]) -> Study | None:
    "The haystack that the README shows: one with claims if there is, of most seeds, the newest."
    there = [s for s in studies if s.preset.startswith("condattendstream") and has_curves(s)]
    return max(there, key=lambda s: (bool(s.claims), s.seeds, s.name), default=None)
