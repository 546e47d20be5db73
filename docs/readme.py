"""index.ipynb -> README.md, with its pictures in docs/readme_files/.

    python docs/readme.py            write them
    python docs/readme.py --check    exit 1 when they differ from what would be written
"""
from __future__ import annotations

import argparse
import html
import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_output
from nbconvert import MarkdownExporter
from traitlets.config import Config

from pptrain.show import strip_svg

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "docs/readme_files"
# What GitHub shows: pictures before HTML, no styles, no scripts.
MIMETYPES = ["text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/html", "text/plain"]
HIDDEN = re.compile(r"^#\|\s*(hide|default_exp)\b", re.M)
ONLY_OUTPUT = re.compile(r"^#\|\s*(echo:\s*false|hide_input)\b", re.M)
DIRECTIVE = re.compile(r"^#\|.*\n?", re.M)
UNSHOWN = re.compile(r"<(style|script)\b.*?</\1>\s*", re.S | re.I)
STRIP = '<div style="line-height:1.9">'     # how a token strip begins, and its boxes
STILL = '<div class="pptrain-still">'         # how a view's still face begins, and its pictures
PNG = re.compile(r'<img alt="[^"]*"[^>]*src="data:image/png;base64,([^"]+)"')
SHOWN = 2                                   # pictures of a view
BOX = re.compile(r'<(b|span) title="[^"]*" style="([^"]*)">(.*?)</\1>', re.S)


def strip_picture(markup: str) -> str | None:
    "The token strip that `markup` begins with, as SVG: GitHub drops the style of its boxes."
    if not markup.startswith(STRIP):
        return None
    boxes = BOX.findall(markup)
    names = [html.unescape(name) for _, _, name in boxes]
    special = {i for i, (_, style, _) in enumerate(boxes) if "italic" in style}
    facts = re.sub(r"<[^>]*>", " ", BOX.sub("", markup))
    caption = html.unescape(" ".join(facts.split()))
    return strip_svg(names, [tag == "b" for tag, _, _ in boxes], special, caption)


def shown(output: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    "What the README shows of an output: of a view its first pictures, of a strip an SVG."
    markup = UNSHOWN.sub("", output.get("data", {}).get("text/html", ""))
    if not markup: return [output]
    if markup.startswith(STILL):
        return [new_output("display_data", {"image/png": code})
                for code in PNG.findall(markup)[:SHOWN]]
    output.data["text/html"] = markup
    if picture := strip_picture(markup):
        output.data["image/svg+xml"] = picture
    return [output]


def prepare(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    "The notebook as the README shows it: no hidden cells, no directives, no HTML GitHub drops."
    # nbdev_clean removes it; fences need it
    nb.metadata["language_info"] = {"name": "python"}
    nb.cells = [c for c in nb.cells if c.cell_type != "raw" and not HIDDEN.search(c.source)]
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        # nbconvert's sign for "output only"
        cell.metadata["transient"] = {"remove_source": bool(ONLY_OUTPUT.search(cell.source))}
        cell.source = DIRECTIVE.sub("", cell.source).strip()
        cell.outputs = [new for output in cell.outputs for new in shown(output)]
    return nb


def render(root: Path = ROOT) -> dict[str, bytes]:
    "README.md and its pictures: {path below the root: bytes}."
    nb = prepare(nbformat.read(root / "index.ipynb", as_version=4))
    config = Config({"NbConvertBase": {"display_data_priority": MIMETYPES}})
    places = {"output_files_dir": PICTURES, "unique_key": "index"}
    text, resources = MarkdownExporter(config=config).from_notebook_node(nb, places)
    text = re.sub(r"^<!-- \w+ -->\n", "", text, flags=re.M)      # marks of generated cells
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"^[ \t]+$", "", text, flags=re.M)).strip() + "\n"
    source = "made from index.ipynb by docs/readme.py: edit the notebook, then `make readme`"
    note = f"<!-- {source} -->\n\n"
    return {"README.md": (note + text).encode(), **resources["outputs"]}


def stored(root: Path = ROOT) -> dict[str, bytes]:
    "What is on disk now, in the form of `render`."
    files = [root / "README.md", *sorted((root / PICTURES).glob("*"))]
    return {f.relative_to(root).as_posix(): f.read_bytes() for f in files if f.is_file()}


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="compare only")
    new, old = render(), stored()
    differing = sorted(name for name in new | old if new.get(name) != old.get(name))
    if parser.parse_args().check:
        if differing:
            print("out of step with index.ipynb (run `make readme`):", *differing, file=sys.stderr)
        return int(bool(differing))
    for name in old.keys() - new.keys():
        (ROOT / name).unlink()
    for name in differing:
        if name in new:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_bytes(new[name])
    size = len(new["README.md"])
    print(f"README.md: {size} bytes, {len(new) - 1} pictures; {len(differing)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
