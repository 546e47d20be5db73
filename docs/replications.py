"""results/ -> REPLICATIONS.md, docs/pictures/, and what index.ipynb says of them.

    python docs/replications.py                 write them
    python docs/replications.py --check         exit 1 when they differ from what would be written
    python docs/replications.py --take FOLDER   first copy a grid's studies, or a run's, to results/

Then `python docs/readme.py`, which makes README.md from index.ipynb (`make readme` does both). The
verdicts are made anew from the rows, by the rule of every report; nothing is written by hand.
`docs/results.py` says what a folder of results holds.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from results import ROOT, Study, curve_picture, forest_picture, front_study, has_curves
from results import noted_attempts, read_studies, take, themed
from still_open import TIMED, rows_still_open

from pptrain.errors import InputError

PICTURES = "docs/pictures"
WIDE = 150      # characters of a line in a terminal
ROOM = 9        # lines for results in the README, which has fewer than 200
WORDS = 116     # and words, in a cell that has at most 120
KEPT = "\N{NO-BREAK SPACE}"     # where a line does not end
MORE = "More, and what is open: [REPLICATIONS](REPLICATIONS.md)."
HEAD = """<!-- made by docs/replications.py from results/: `python docs/replications.py` -->

# What replicated

Each claim is a paper's sentence, written down before a counted seed was trained, and judged by one
rule (`pptrain.study.decide`): an exact paired sign-flip test at 5 % and a 95 % interval; the main
claim alone, the others corrected among themselves. *No effect* means that two one-sided tests put
the effect within what was called too small to matter; *undecided* means neither, and says how many
seeds would decide. A verdict speaks about the size in its row, not about the paper's models.
"""


def number(value: float) -> str:
    return f"{value:+.3g}"


def effect_words(row: Mapping[str, Any]) -> str:
    "`+0.41 [0.3, 0.5] accuracy`, or a dash for what was not run."
    if not row["n"] or not pd.notna(row["effect"]):
        return "–"
    ends = f" [{number(row['low'])}, {number(row['high'])}]" if row["interval"] else ""
    return f"{number(row['effect'])}{ends} {row['unit']}"


def verdict_words(row: Mapping[str, Any]) -> str:
    "The verdict, with the seeds that would decide it, or why nobody knows how many."
    needed = row.get("needed_n")
    if pd.notna(needed):
        return f"{row['verdict']} (≈ {needed} seeds would)"
    return f"{row['verdict']} ({row['why']})" if row["verdict"] == "undecided" else row["verdict"]


def p_words(row: Mapping[str, Any]) -> str:
    return f"{row['p_corrected']:.3g}" if row["n"] else ""


def told(study: Study, verdicts: pd.DataFrame, kind: str) -> list[list[str]]:
    "Rows of a table of claims, or of comparisons."
    rows = []
    for row in verdicts[verdicts.kind == kind].to_dict("records"):
        name = f"**{row['claim']}**" if row["main"] else row["claim"]
        paper = [row["paper"] or "–"] if kind == "claim" else []
        rows.append([name, *paper, effect_words(row), p_words(row), str(row["n"]),
                     verdict_words(row)])
    return rows


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    "A Markdown table whose cells may hold Markdown of our own."
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def all_claims(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]) -> str:
    "One table: every claim of every study; a study without claims says that it explores."
    rows = []
    for study in studies:
        link = f"[{study.name}](#{study.name.replace('.', '')})"
        claims = told(study, judged[study.name], "claim")
        if not claims:
            named = "exploratory: no claim was named before"
            what = named if len(study.rows) else "no rows yet"
            rows.append([link, what, "", "", "", str(study.seeds or ""), ""])
        rows += [[link, *claim] for claim in claims]
    columns = ["study", "claim (main in bold)", "the paper", "here: effect [95 %]", "p", "seeds",
               "verdict"]
    return table(rows, columns)


def settings_words(study: Study, verdicts: pd.DataFrame) -> str:
    "At which size, on what, when, and what differs from the paper."
    facts = study.facts or study.settings
    parts = [verdicts["size"].iloc[0] if len(verdicts) else "", study.preset,
             str(facts.get("machine") or facts.get("gpu") or ""), f"{study.seeds} seeds",
             str(facts.get("date", ""))[:10]]
    differs = "; ".join(dict.fromkeys(filter(None, verdicts.get("differs", []))))
    line = ", ".join(filter(None, parts)) + "."
    return line + (f" Differs from the paper: {differs}." if differs else "")


def section(study: Study, verdicts: pd.DataFrame) -> str:
    "A study: its paragraph, its setting, its curves, what it asks beyond the paper."
    parts = [f"## {study.name}", f"*{study.title}*", study.lead]
    if len(study.rows):
        parts.append(settings_words(study, verdicts))
    if has_curves(study):
        parts.append(f"![Accuracy over steps, arm by arm]({PICTURES}/{study.name}.svg)")
    if own := told(study, verdicts, "comparison"):
        parts += ["Asked on our own account (no claim of the paper):",
                  table(own, ["question", "effect [95 %]", "p", "seeds", "answer"])]
    files = sorted(path for path in study.folder.glob("*") if path.is_file())
    place = f"results/{study.folder.as_posix().rpartition('results/')[2]}"
    links = ", ".join(f"[{path.name}]({place}/{path.name})" for path in files)
    return "\n\n".join([*parts, f"Files: {links}."])


def still_open(judged: Mapping[str, pd.DataFrame]) -> str:
    "The papers whose main claim nothing here has decided, and what a run takes that could."
    rows = rows_still_open(judged.values())
    if not rows:
        return "## Still open\n\nThe main claim of every paper is decided above."
    words = ("No result here decides these main claims. Counted by a dry run, all arms and "
             "searches of a rate included; hours of one thread, at the pace of r4_simpler_tasks "
             f"({TIMED}). Where a run was undecided, the seeds are those that would decide it.")
    columns = ["main claim", "the paper", "seeds", "tokens", "FLOPs", "hours", "command"]
    return "\n\n".join(["## Still open", fill(words, 100), table(rows, columns)])


def attempts(studies: Sequence[Study], noted: Sequence[tuple[str, str, str]]) -> str:
    "The log of failed attempts of all studies, and of those `noted` without one, oldest first."
    told = [(date, study.name, what) for study in studies for date, what in study.failed]
    items = sorted([*told, *noted])
    lines = [f"* {date}, {name}: {what}" for date, name, what in items]
    return "## Failed attempts\n\n" + ("\n".join(lines) or "None is noted.")


def page(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame],
         noted: Sequence[tuple[str, str, str]] = ()) -> str:
    "REPLICATIONS.md."
    forest = [f"![All effects with their intervals]({PICTURES}/forest.svg)"] * shown(judged)
    parts = [HEAD.strip(), all_claims(studies, judged), *forest,
             *(section(study, judged[study.name]) for study in studies), still_open(judged),
             attempts(studies, noted)]
    return "\n\n".join(parts) + "\n"


def effects_of(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    "All verdicts that have an effect."
    tables = [verdicts[verdicts.n > 0] for verdicts in judged.values() if "n" in verdicts]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def shown(judged: Mapping[str, pd.DataFrame]) -> bool:
    "Is there an effect to be drawn?"
    return bool(len(effects_of(judged)))


# what index.ipynb, and so README.md, says of the results: cells that begin with these comments

def main_claim(verdicts: pd.DataFrame) -> dict[str, Any] | None:
    "The claim that a study is made for; None where it has none."
    main = verdicts[verdicts.main.eq(True)] if "main" in verdicts else verdicts[:0]
    return main.to_dict("records")[0] if len(main) else None


def judged_words(row: Mapping[str, Any]) -> str:
    "A claim with its verdict and numbers."
    numbers = f": {effect_words(row)}, p = {row['p']:.3g}, n = {row['n']}" if row["n"] else ""
    return f"\"{row['claim'].rstrip('.')}\" **{verdict_words(row)}**{numbers}"


def argument(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]) -> str:
    "The picture that argues, and the sentence that says what it shows."
    study = front_study(list(studies))
    if study is None: return ""
    rows = study.rows[study.rows.metric == "accuracy"]
    ends = rows[rows.step == rows.step.max()].groupby("variant").value.mean()
    ends = ends.sort_values(ascending=False)
    arms = "; ".join(f"*{name}* {value:.2f}".replace(" ", KEPT) for name, value in ends.items())
    main = main_claim(judged[study.name])
    verdict = ("No claim was named beforehand: it shows, and decides nothing." if main is None else
               f"The claim named beforehand, {judged_words(main)}.")
    words = (f"The same small model looks for a value by its key (`{study.preset}`), after another "
             f"task or none. Found at step {rows.step.max():,}, mean of {study.seeds} seeds: "
             f"{arms}. {verdict}")
    picture = f"![Share of needles found over steps, arm by arm]({PICTURES}/{study.name}.svg)"
    lines = fill(words, WIDE - 5, break_on_hyphens=False).replace(KEPT, " ")
    return f"{picture}\n\n{lines}"


def main_words(study: Study, row: Mapping[str, Any]) -> str:
    "The main claim of a study as an item of a list."
    paper = f" (paper: {row['paper']})" if row["paper"] else ""
    size = str(row.get("size") or "").partition(",")[0]
    facts = [effect_words(row), size, f"{row['n']} seeds"]
    words = f"* {study.folder.name}: {row['claim'].rstrip('.')}{paper}: **{verdict_words(row)}**, "
    return fill(words + ", ".join(filter(None, facts)) + ".", WIDE - 5, subsequent_indent="  ",
                break_on_hyphens=False)


def brief_words(study: Study, row: Mapping[str, Any]) -> str:
    "The same without paper, interval and size."
    effect = f"{number(row['effect'])} {row['unit']}, " if row["n"] else ""
    words = f"* {study.folder.name}: {row['claim'].rstrip('.')}: **{row['verdict']}**, {effect}"
    return fill(f"{words}{row['n']} seeds.", WIDE - 5, subsequent_indent="  ",
                break_on_hyphens=False)


def fits(text: str) -> bool:
    return text.count("\n") < ROOM and len(text.split()) <= WORDS


def replicated(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]) -> str:
    """The main claims with their verdicts, as much of each as fits; of many the verdicts alone.

    Of a study that ran again the newest."""
    found = [(study, main_claim(judged[study.name])) for study in studies]
    newest = {study.folder.name: (study, main) for study, main in found if main is not None}
    named = list(newest.values())
    if not named:
        return "No study whose claims were named beforehand has been finished yet."
    for words in (main_words, brief_words):
        text = "\n".join(words(study, main) for study, main in named)
        if fits(text):
            break
    else:
        short = [f"{study.folder.name} **{main['verdict']}** (n = {main['n']})"
                 for study, main in named]
        text = fill(f"Main claims: {'; '.join(short)}.", WIDE - 5, break_on_hyphens=False)
    return f"{text}\n\n{MORE}"


CELLS = {"<!-- haystack -->": argument, "<!-- replications -->": replicated}


def index_with(root: Path, studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]) -> str:
    "index.ipynb with the cells of results as they should be."
    nb = json.loads((root / "index.ipynb").read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        mark = "".join(cell["source"]).partition("\n")[0]
        if mark in CELLS:
            text = f"{mark}\n{CELLS[mark](studies, judged)}"
            cell["source"] = text.splitlines(keepends=True)
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def render(root: Path = ROOT) -> dict[str, str]:
    "Every file that is made from results/: {path below the root: text}."
    studies = read_studies(root)
    judged = {study.name: study.verdicts() for study in studies}
    files = {"REPLICATIONS.md": page(studies, judged, noted_attempts(root)),
             "index.ipynb": index_with(root, studies, judged)}
    for study in filter(has_curves, studies):
        files[f"{PICTURES}/{study.name}.svg"] = themed(curve_picture(study))
    if shown(judged):
        files[f"{PICTURES}/forest.svg"] = themed(forest_picture(effects_of(judged)))
    return files


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--take", type=Path, metavar="FOLDER", help="copy results from here first")
    options = parser.parse_args()
    try:
        if options.take:
            print(*take(options.take), sep="\n")
        files = render()
    except InputError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    stale = [name for name, text in files.items()
             if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text]
    if options.check:
        print(*[f"{name} is not what results/ say (run `make readme`)" for name in stale],
              sep="\n", end="\n" if stale else "", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(files[name], encoding="utf-8")
    print(f"{len(files)} files made from results/, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
