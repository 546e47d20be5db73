"""docs/faithful.md from replays, docs/differences.md from the family chapters.

    python docs/evidence.py            write them (half a minute of replays)
    python docs/evidence.py --check    exit 1 when they differ from what would be written
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from pptrain import registered_presets, registered_tasks
from pptrain.core import registered_task
from pptrain.parity import Tally, load_vectors

ROOT = Path(__file__).resolve().parents[1]
VECTORS = {"dyck": "dev.json", "lime": "dev.json", "nca": "dev.npz", "procedural": "dev.json",
           "simpler_tasks": "dev.json", "summarization": "dev.json"}
OTHERS = [e.name for e in registered_tasks() if e.name not in VECTORS]     # nothing to replay
SOURCES = {
    "dyck": "zlshinnick/procedural-pretraining @5356d9e (`proc_*`), michahu/pre-pretraining "
            "@5c937ca (`hu_*`), Ryou0634/artificial_language @ecf0d22 (`ri`)",
    "lime": "tonywu95/LIME @2a4045f; felixzli/synthetic_pretraining @58a6e0b (`t5_*`)",
    "nca": "danihyunlee/nca-pre-pretraining @bdd1c71",
    "procedural": "zlshinnick/procedural-pretraining @5356d9e",
    "simpler_tasks": "felixzli/synthetic_pretraining @58a6e0b",
    "summarization": "the nonsense corpus, tasks and reader of Krishna et al., and STEP after "
                     "Zou et al., as specified in the family's chapters"}
# pattern of a section's name → what is checked in its records
LEGEND = {
    "dyck": {
        r"samples proc_": "Jiang et al.: the ids come again from their seed; partners, depths and "
                          "validity are recomputed",
        r"samples hu_": "Hu et al.: likewise",
        r"streams ": "consecutive rows of 2,048 tokens from one stream of random numbers",
        r"ri ": "Ri and Tsuruoka: sentences of each language, from their seed",
        r"invalid": "broken sequences of seven kinds, which the validators must refuse",
        r"stats .* law": "distribution tests: 20,000 draws of ours against theirs",
        r"stats ": "counts that hold exactly, or within their own error"},
    "lime": {
        r"t5_": "the T5 form of Wu, Li and Liang: both columns, read, executed, written again",
        r"": "the official lines of a mode: read into cast and parts, executed, written again, and "
             "drawn again from the seed"},
    "nca": {
        r"a$": "24 rules: logits, one grid on, and trajectories while float32 can tell",
        r"abias": "the same with biases that are not zero",
        r"d_": "other alphabets and grid sizes",
        r"b$": "single steps with the noise given, five temperatures: equal cell by cell",
        r"c$": "whole rollouts, and which frames are returned",
        r"e\d": "token rows, inputs and labels for a patch size, alphabet, shape and length",
        r"f$": "gzip size, ratio and acceptance of real rollouts",
        r"f2": "gzip of crafted grids: one colour, frozen, period two, noise",
        r"f3": "a ratio of exactly one half, which the band refuses",
        r"g laws": "distribution tests against 2,000 unfiltered rules",
        r"g$": "what must hold exactly of those rules; quantiles of the weights",
        r"meta": "which code and versions made the file"},
    "procedural": {
        r"": "`op_Llength_Vvocabulary`: inputs executed, row and mask written, and all of it "
             "regenerated from the seed"},
    "simpler_tasks": {
        r"meta": "which code and versions made the file",
        r"": "lines of an op: inputs executed, both columns equal to the byte"},
    "summarization": {
        r"meta": "word lists, tokens and constants of the official code",
        r"single": "one task on one document: from its facts and from its seed",
        r"composite_edge": "documents of several tasks at the corners: empty, overlapping, cut",
        r"composite": "documents of several tasks, as trained on",
        r"step": "the three STEP tasks",
        r"reader": "what the paper's reader makes of a line: pieces, cut, special tokens",
        r"pipeline": "a whole file, by digest"}}


def legend(family: str, section: str) -> str:
    "What is checked in a section. Raises LookupError for one that nobody has explained."
    for pattern, meaning in LEGEND[family].items():
        if re.match(pattern, section): return meaning
    raise LookupError(f"docs/evidence.py: LEGEND has no entry for {family}: {section}")


def grouped(family: str, tally: Tally) -> list[tuple[str, str, int, int]]:
    "Sections that mean the same as one row: names, meaning, checked, passed."
    groups: dict[str, list] = {}
    for section, (checked, passed) in tally.sections.items():
        group = groups.setdefault(legend(family, section), [[], 0, 0])
        group[0].append(section)
        group[1] += checked
        group[2] += passed
    rows = []
    for meaning, (names, checked, passed) in groups.items():
        shown = f"`{names[0]}`" if len(names) == 1 else f"`{names[0]}` … `{names[-1]}`"
        rows.append((shown, meaning, checked, passed))
    return rows


def family_section(family: str) -> tuple[str, int, int]:
    "A family's table, records checked and passed."
    file = ROOT / "tests/vectors" / family / VECTORS[family]
    tally = registered_task(family).replay(load_vectors(file))
    made = f"Made by {SOURCES[family]}. Again: `pptrain parity {family}`."
    lines = [f"## {family}", "", made, "",
             "| section | what is checked | checked | passed |", "|---|---|---:|---:|"]
    for names, meaning, checked, passed in grouped(family, tally):
        lines.append(f"| {names} | {meaning} | {checked} | {passed} |")
    lines.append(f"| | **all** | **{tally.checked}** | **{tally.passed}** |")
    return "\n".join(lines), tally.checked, tally.passed


HEAD = """<!-- made by docs/evidence.py: `make evidence` -->

# Faithful to the paper

A paper's data are what its code writes, not what a description suggests. For each family, outputs
of the papers' own code (the *vectors*) were recorded as plain facts: inputs, outputs, ids, seeds,
statistics. A replay executes, writes and, where the generator of random numbers can be rebuilt,
draws them again, and compares record by record. A distribution test fails at p ≤ 0.0001.

This page replays the compact set that travels with the package: {checked} records, {passed} equal.
`pptrain parity FAMILY` does it on your machine, `pptrain parity FAMILY FILE` with a larger file;
exit status 1 when one record differs, or none was checked.

What a replay cannot show: whether the paper's models were trained on what its released code
writes. Where paper and code part, [differences](differences.md) says which we follow.
"""


def faithful() -> str:
    "The page of all replays."
    sections = [family_section(family) for family in VECTORS]
    checked, passed = (sum(section[i] for section in sections) for i in (1, 2))
    head = HEAD.format(checked=f"{checked:,}", passed="all" if passed == checked else passed)
    tail = (f"No vectors: {', '.join(f'`{name}`' for name in OTHERS)}, which were written from a "
            "reading of the code; hand-made tables test them.")
    return "\n\n".join([head.strip(), *(text for text, _, _ in sections), tail]) + "\n"


def said_of_differences(family: str) -> str:
    """What a family's chapter says about where it differs, as Markdown: from where its
    section on faithfulness says so, or its first paragraph."""
    path = f"nbs/tasks/{family}/10_family.ipynb"
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    prose = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    section = re.search(r"^## Faithful.*?\n\n(.*?)(?=\n\n## |\Z)", prose, re.S | re.M)
    paragraphs = section[1].split("\n\n") if section else []
    first = next((i for i, text in enumerate(paragraphs) if "e differ" in text), None)
    said = "\n\n".join(paragraphs[:1] if first is None else paragraphs[first:])
    linked = re.sub(r"\]\((\d\w*\.ipynb)\)", rf"](../nbs/tasks/{family}/\1)", said)
    return linked or "No difference is known."


def differences() -> str:
    "The page of differences, family by family, with the presets that are no paper's."
    parts = ["<!-- made by docs/evidence.py from the family chapters: `make evidence` -->",
             "# Differences from each paper",
             "Two hold everywhere. Item *i* is a function of (settings, seed, split, epoch, i), so "
             "our stream is not the official one, though its law is; `stream=official`, "
             "where a family has it, replays theirs. And labels are never shifted: the model "
             "does that, once.",
             "What our replications could not match (size, tuning, text) stands at the end of "
             "each notebook in `nbs/replication`, under *What we could not match*."]
    for family in [*VECTORS, *OTHERS]:
        own = [p.name for p in registered_presets(family)
               if "ours" in p.description or p.reference.startswith("ours")]
        note = f" Presets of ours: {', '.join(f'`{name}`' for name in own)}." if own else ""
        chapter = f"[The chapter](../nbs/tasks/{family}/10_family.ipynb) has the evidence."
        parts += [f"## {family}", said_of_differences(family), chapter + note]
    return "\n\n".join(parts) + "\n"


PAGES = {"docs/faithful.md": faithful, "docs/differences.md": differences}


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    stale = []
    for name, written in PAGES.items():
        path, text = ROOT / name, written()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check: path.write_text(text, encoding="utf-8")
    if check and stale:
        print("out of date (run `make evidence`):", *stale, file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
