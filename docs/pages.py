"""How-to notebooks -> docs/quickstart.md and docs/extending.md, for those who read on GitHub.

    python docs/pages.py            write them
    python docs/pages.py --check    exit 1 when they differ from what would be written

Code, prose and printed outputs; pictures and tables stay in the notebook, which is linked.
"""
from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"docs/quickstart.md": "quickstart", "docs/extending.md": "your_own_family"}
HIDDEN = re.compile(r"^#\|\s*hide\b", re.M)
DIRECTIVE = re.compile(r"^#\|.*\n?", re.M)
LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def moved(prose: str) -> str:
    "`prose` of a how-to with links that work from docs/; the pages made here go by their own name."
    def place(link: re.Match) -> str:
        here = {f"{notebook}.ipynb": Path(page).name for page, notebook in PAGES.items()}
        target = link[1]
        if target in here:
            return f"]({here[target]})"
        path = (ROOT / "nbs/how_to" / target).resolve().relative_to(ROOT)
        return f"](../{path.as_posix()})"
    return LINK.sub(place, prose)


def printed(outputs: list) -> str:
    "What a cell printed, as a fenced block; nothing where it printed nothing."
    text = "".join(o["text"] for o in outputs if o["output_type"] == "stream").rstrip()
    return f"```text\n{text}\n```" if text else ""


def page(notebook: str, root: Path = ROOT) -> str:
    "A how-to as Markdown."
    source = f"nbs/how_to/{notebook}.ipynb"
    note = f"made from {source} by docs/pages.py: edit the notebook, then `make readme`"
    nb = nbformat.read(root / source, as_version=4)
    parts = [f"<!-- {note} -->"]
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            parts.append(moved(cell.source))
        elif not HIDDEN.search(cell.source):
            parts.append(f"```python\n{DIRECTIVE.sub('', cell.source).strip()}\n```")
            parts.append(printed(cell.outputs))
    parts.append(f"The pictures are in [the notebook](../{source}).")
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    stale = []
    for name, notebook in PAGES.items():
        path, text = ROOT / name, page(notebook)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print("out of step with the how-tos (run `make readme`):", *stale, file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
