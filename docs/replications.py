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
import posixpath
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from results import ROOT, Study, ahead_picture, curve_picture, forest_picture, front_study
from results import has_curves, is_behind_or_ahead, noted_attempts, planned, read_studies, take
from results import themed
from still_open import TIMED, rows_still_open

from pptrain.errors import InputError
from pptrain.study.head import amount, arms_table, place_line, rate_line

PICTURES = "docs/pictures"
WIDE = 150      # characters of a line in a terminal
ROOM = 9        # lines for results in the README, which has fewer than 200
WORDS = 117     # and words: a cell has at most 120, and its mark is three
KEPT = "\N{NO-BREAK SPACE}"     # where a line does not end
# what facts.json of before says of an arm to which nothing but the scale crosses
ONLY_SCALE = r"^warmed up on (.*); crosses: {name: components, keep: \[\].*embeddings: (\w+).*}$"
MORE = "More, and what is open: [REPLICATIONS](REPLICATIONS.md)."
HEAD = """<!-- made by docs/replications.py from results/: `python docs/replications.py` -->

# What replicated

Each claim is a paper's sentence, written down before a counted seed was first trained, and judged
by one rule (`pptrain.study.decide`): an exact paired sign-flip test at 5 % and a 95 % interval; the
main claim alone, the others corrected among themselves: so is their p, their intervals are not.
Every effect is a gain: below zero the first arm is worse. *Replicated* and *contradicted* are the
paper's direction and the other one; of two warm-ups one may be better and both worse than none.
*No effect* means that two one-sided tests put the effect within what was called too small to
matter; *undecided* means neither, and says how many seeds would decide, in one direction or the
other; *not judged* that no run of these lengths could show it, or one diverged. *Exploratory* is a
study without claims, which decides nothing. A verdict speaks about the size in its row, not about
the paper's models.

Arms are compared at equal tokens of *text*, or of the skill; those of the warm-up come on top, and
are many here: each section says how many. The papers of r1 to r3 take .1 to 4 %.
A study's name begins with its profile; where it ran is said in its section.
Every curve falls. At step 0 any arm may do worse than an even guess, and most do; after it no
held-out loss does.
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
        paper = [row["paper"] or "– (our control)"] if kind == "claim" else []
        rows.append([name, *paper, effect_words(row), p_words(row), str(row["n"]),
                     str(row["size"]).replace(" parameters", ""), verdict_words(row)])
    return rows


def table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    "A Markdown table whose cells may hold Markdown of our own."
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def ran_later(study: Study, claim: str, studies: Sequence[Study],
              judged: Mapping[str, pd.DataFrame]) -> str:
    "Where a claim of the same study was run after all."
    for other in studies:
        if other.folder.name == study.folder.name and other is not study:
            table = judged[other.name]
            if len(table) and table[(table.claim == claim.strip("*")) & (table.n > 0)].size:
                return f"; run in [{other.name}](#{other.name})"
    return ""


def all_claims(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]) -> str:
    "One table: every claim of every study; a study without claims says that it explores."
    rows = []
    for study in studies:
        link = f"[{study.name}](#{study.name.replace('.', '')})"
        claims = told(study, judged[study.name], "claim")
        if not claims:
            named = "exploratory: no claim was named before"
            what = named if len(study.rows) else "no rows yet"
            rows.append([link, what, "", "", "", str(study.seeds or ""), "", ""])
        for claim in claims:
            later = ran_later(study, claim[0], studies, judged) if claim[-1] == "not run" else ""
            rows.append([link, *claim[:-1], claim[-1] + later])
    columns = ["study", "claim (main in bold)", "the paper", "here: effect [95 %]", "p", "seeds",
               "parameters, tokens", "verdict"]
    return table(rows, columns)


def warm_up_words(study: Study) -> str:
    "How long warm-ups are beside what follows; nothing where nobody counted tokens."
    first = study.rows[(study.rows.metric == "warmup_tokens") & (study.rows.value > 0)]
    shares = sorted({float(f"{100 * n / study.rows.tokens.max():.2g}") for n in first.value})
    ends = dict.fromkeys(f"{share:,.0f}" for share in (*shares[:1], *shares[-1:]))
    return f"a warm-up of {' to '.join(ends)} % of these" if ends else ""


def arms_words(study: Study) -> str:
    "Folded: which data, seeds and machine; what each arm is, cost, and had learnt before."
    facts = study.facts
    stage = "text" if "corpus" in study.settings else "skill"
    data = facts.get("corpus") or study.settings.get("corpus") or study.preset
    sha = facts.get("corpus_sha256")
    kept = f"sha256 `{sha}`" if sha else "its hash was not kept"
    said = [f"Data of the {stage}: {data}, {kept}.", place_line(study.rows, facts)]
    if facts.get("rates"):
        said.append(rate_line(study.settings, facts))
    if facts.get("epochs"):
        said.append(f"{facts['epochs']:.2g} passes over the text.")
    arms = arms_table(study.rows, facts, stage, study.settings)
    what = arms.pop("what it is").replace(ONLY_SCALE, "no weight crosses; embeddings: \\2, as in a "
                                          "model warmed up on \\1", regex=True)
    arms["what it is"] = what.replace("", "–")      # the longest comes last
    rows = arms.astype(str).to_numpy().tolist()
    top = "Each arm: tokens, FLOPs, seeds, rates, what its warm-up learnt"
    return "\n\n".join([f"<details><summary>{top}</summary>", " ".join(said),
                        table(rows, list(arms.columns)), "</details>"])


def settings_words(study: Study, verdicts: pd.DataFrame) -> str:
    "At which size, on what, when, and what differs from the paper."
    facts = study.facts or study.settings
    machine = facts.get("machine") or facts.get("gpu")
    tokens = study.rows.tokens.max()
    counted = f"{amount(tokens)} tokens" if pd.notna(tokens) else ""
    size = verdicts["size"].iloc[0] if len(verdicts) else counted
    parts = [size, warm_up_words(study), study.preset, f"on {machine}" if machine else "",
             f"{study.seeds} seeds", str(facts.get("date", ""))[:10]]
    differs = "; ".join(dict.fromkeys(filter(None, verdicts.get("differs", []))))
    line = ", ".join(filter(None, parts)) + "."
    return line + (f" Differs from the paper: {differs}." if differs else "")


def place_of(study: Study) -> str:
    "Its folder, as the page links to it."
    return f"results/{study.folder.as_posix().rpartition('results/')[2]}"


def from_the_page(study: Study, text: str) -> str:
    "What a study's README says, its links to other folders as they lead from the page."
    def there(link: re.Match) -> str:
        return f"]({posixpath.normpath(f'{place_of(study)}/{link[1]}')})"
    return re.sub(r"\]\((?!#|\w+:)([^)]+)\)", there, text)


def section(study: Study, verdicts: pd.DataFrame) -> str:
    "A study: its paragraph, its setting, its curves, what it asks beyond the paper."
    parts = [f"## {study.name}", f"*{study.title}*", from_the_page(study, study.lead)]
    if len(study.rows):
        reading = from_the_page(study, study.reading)
        parts += [*filter(None, [reading]), settings_words(study, verdicts)]
    if study.rows.tokens.notna().any():
        parts.append(arms_words(study))
    if has_curves(study):
        parts.append(f"![Accuracy over steps, arm by arm]({PICTURES}/{study.name}.svg)")
    if is_behind_or_ahead(study):
        says = "How far the loss of each arm lies below that of scratch, over the steps of text"
        parts.append(f"![{says}]({PICTURES}/{study.name}-ahead.svg)")
    if own := told(study, verdicts, "comparison"):
        parts += ["Asked on our own account (no claim of the paper):",
                  table([row[:-2] + row[-1:] for row in own],
                        ["question", "effect [95 %]", "p", "seeds", "answer"])]
    files = sorted(path for path in study.folder.glob("*") if path.is_file())
    links = ", ".join(f"[{path.name}]({place_of(study)}/{path.name})" for path in files)
    return "\n\n".join([*parts, f"Files: {links}."])


def still_open(judged: Mapping[str, pd.DataFrame],
               plans: Sequence[tuple[str, str, str]] = ()) -> str:
    "The notebooks whose main claim no run of theirs has decided, what that takes, and the plans."
    parts = ["## Still open"]
    if rows := rows_still_open(judged.values()):
        words = ("No run of these notebooks decides its main claim; others of the same paper may "
                 "stand above. Counted by a dry run of profile laptop, all arms and searches of a "
                 "rate included; hours of one thread, at the pace of r4_simpler_tasks "
                 f"({TIMED}). Where a run was undecided, as many seeds as would decide it, and new "
                 "ones: the rule does not hold for seeds added to those already seen.")
        columns = ["notebook", "main claim", "the paper", "seeds", "tokens", "FLOPs", "hours",
                   "command"]
        parts += [fill(words, 100), table(rows, columns)]
    if plans:
        items = [f"* {study}: {what}: [plan]({plan})" for study, what, plan in plans]
        parts += ["Written down, and not run yet:", "\n".join(items)]
    if len(parts) == 1:
        parts.append("The main claim of every notebook is decided above.")
    return "\n\n".join(parts)


def attempts(studies: Sequence[Study], noted: Sequence[tuple[str, str, str]]) -> str:
    "The log of failed attempts of all studies, and of those `noted` without one, oldest first."
    told = [(date, study.name, what) for study in studies for date, what in study.failed]
    items = sorted([*told, *noted])
    lines = [f"* {date}, {name}: {what}" for date, name, what in items]
    return "## Failed attempts\n\n" + ("\n".join(lines) or "None is noted.")


def page(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame],
         noted: Sequence[tuple[str, str, str]] = (),
         plans: Sequence[tuple[str, str, str]] = ()) -> str:
    "REPLICATIONS.md."
    forest = [f"![Effects of claims with their intervals]({PICTURES}/forest.svg)"] * shown(judged)
    parts = [HEAD.strip(), all_claims(studies, judged), *forest,
             *(section(study, judged[study.name]) for study in studies), still_open(judged, plans),
             attempts(studies, noted)]
    return "\n\n".join(parts) + "\n"


def effects_of(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    "All verdicts on claims that have an effect and were judged."
    judgeable = lambda of: (of.kind == "claim") & (of.n > 0) & (of.verdict != "not judged")
    tables = [verdicts[judgeable(verdicts)]
              for verdicts in judged.values() if "n" in verdicts]
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
    rates = sorted({rates["text"] for rates in study.facts.get("rates", {}).values()})
    own = f", learning rates {' or '.join(map(str, rates))}" if len(rates) > 1 else ""
    words = (f"The same small model looks for a value by its key (`{study.preset}`), after another "
             f"task or none. Found at step {rows.step.max():,}, mean of {study.seeds} seeds{own}: "
             f"{arms}. {verdict}")
    picture = f"![Share of needles found over steps, arm by arm]({PICTURES}/{study.name}.svg)"
    lines = fill(words, WIDE - 5, break_on_hyphens=False).replace(KEPT, " ")
    return f"{picture}\n\n{lines}"


def in_lines(words: str) -> str:
    return fill(words, WIDE - 5, subsequent_indent="  ", break_on_hyphens=False)


def main_words(study: Study, row: Mapping[str, Any], others: str) -> str:
    "The main claim of a study as an item of a list."
    paper = f" (paper: {row['paper']})" if row["paper"] else ""
    size = size_of(row) and f"{size_of(row)} parameters"
    facts = [effect_words(row), size, f"{row['n']} seeds"]
    words = f"* {study.folder.name}: {row['claim'].rstrip('.')}{paper}: **{verdict_words(row)}**, "
    return in_lines(f"{words}{', '.join(filter(None, facts))}{others}.")


def brief_words(study: Study, row: Mapping[str, Any], others: str) -> str:
    "The same without paper, interval and seeds."
    size = size_of(row) and f" ({size_of(row)})"
    effect = f", {number(row['effect'])} {row['unit']}" * bool(row["n"])
    return shortest_words(study, row, f"{size}{effect}{others}")


def shortest_words(study: Study, row: Mapping[str, Any], more: str) -> str:
    "The verdict."
    words = f"* {study.folder.name}: {row['claim'].rstrip('.')}: **{row['verdict']}**"
    return in_lines(f"{words}{more}.")


def elsewhere(others: Mapping[str, Mapping[str, Any]]) -> str:
    "What became of a claim on other texts."
    return "".join(f"; {text}: **{row['verdict']}**" for text, row in others.items())


def size_of(row: Mapping[str, Any]) -> str:
    "Parameters of the model, as `0.54M`; nothing where nobody knows."
    found = re.match(r"[\d.]+M(?= parameters)", str(row.get("size") or ""))
    return found[0] if found else ""


def fits(text: str) -> bool:
    return text.count("\n") < ROOM + 2 and len(text.split()) <= WORDS


def main_claims(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]
                ) -> list[tuple[Study, dict[str, Any], dict[str, dict[str, Any]]]]:
    """Study, main claim, and the same claim on other texts.

    Of studies of one paper (r2_text, r2_dyck) that ask the same of an arm the newest speaks."""
    asked: dict[Any, dict[str | None, tuple[Study, dict[str, Any]]]] = {}
    for study in studies:
        main = main_claim(judged[study.name])
        if main is not None:
            paper = re.match(r"r\d+(?=_)", study.folder.name)
            what = (paper[0], main["measure"], main["variant"]) if paper else main["claim"]
            texts, text = asked.setdefault(what, {}), study.settings.get("corpus")
            texts.pop(text, None)
            texts[text] = study, main
    named = []
    for texts in asked.values():
        study, main = texts.pop(list(texts)[-1])
        named.append((study, main, {str(text): row for text, (_, row) in texts.items()}))
    return sorted(named, key=lambda one: one[0].folder.name)


def span(values: Sequence[Any]) -> str:
    "The first and the last; one of them where they are the same."
    return " to ".join(map(str, dict.fromkeys((values[0], values[-1]))))


def replicated(studies: Sequence[Study], judged: Mapping[str, pd.DataFrame]) -> str:
    "The main claims with their verdicts, as much of each as fits; of many the verdicts alone."
    named = main_claims(studies, judged)
    if not named:
        return "No study whose claims were named beforehand has been finished yet."
    rows = [row for _, main, others in named for row in (main, *others.values())]
    seeds = span(sorted(row["n"] for row in rows))
    sizes = sorted(filter(None, map(size_of, rows)), key=lambda size: float(size[:-1]))
    known = f"{span(sizes)} parameters, " if sizes else ""
    less = f"{known}{seeds} seeds. [More](REPLICATIONS.md)."
    for words, more in ((main_words, MORE), (brief_words, less), (shortest_words, less)):
        lines = [words(study, main, elsewhere(others)) for study, main, others in named]
        text = "\n".join(lines) + f"\n\n{more}"
        if fits(text):
            return text
    short = [f"{study.folder.name} **{main['verdict']}** (n = {main['n']})"
             for study, main, _ in named]
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
    files = {"REPLICATIONS.md": page(studies, judged, noted_attempts(root),
                                     planned(studies, root)),
             "index.ipynb": index_with(root, studies, judged)}
    for study in filter(has_curves, studies):
        files[f"{PICTURES}/{study.name}.svg"] = themed(curve_picture(study))
    for study in filter(is_behind_or_ahead, studies):
        files[f"{PICTURES}/{study.name}-ahead.svg"] = themed(ahead_picture(study))
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
