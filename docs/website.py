"""The static site: notebooks with their stored outputs, API pages, pages of widgets; nothing runs.

    python docs/website.py [--out _docs]      needs `pip install -e ".[docs]"`

A source tree is laid out in OUT/src (Markdown and notebooks, links mended), Sphinx builds it into
OUT/html with warnings as errors, and every link within the site is followed. Where Chromium and
playwright are, every page is opened on a screen as wide as a phone, in both themes.
"""
from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import looked
from pages import PAGES

ROOT = Path(__file__).resolve().parents[1]
HOW_TOS = ["quickstart", "your_own_family", "custom_models", "transfer", "measure",
           "feed_another_trainer", "replicate_on_a_cluster", "gallery"]
ROOMS = ["tasks", "core", "data", "show", "integrations", "corpora", "transfer", "executors",
         "generate", "measure", "runs", "study", "views", "replication"]
EVIDENCE = ["faithful", "differences", "migration"]
FRONTS = [f"pptrain.{room}" for room in (
    "core", "data", "show", "integrations", "corpora", "transfer", "executors", "generate",
    "measure", "runs", "study", "widgets", "parity", "vocab", "errors")]
LINK = re.compile(r"(!?)\[([^\]\n]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def tree(title: str, pages: list[str], depth: int = 1) -> str:
    "A table of contents."
    options = f":maxdepth: {depth}\n:caption: {title}\n:hidden:\n"
    return "```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def mended(prose: str, home: Path, pages: set[str]) -> str:
    "Links of a page at `home` from the site's root; to what the site does not hold, plain words."
    def place(link: re.Match) -> str:
        path, _, anchor = link[3].partition("#")
        target = (ROOT / home / path).resolve()
        inside = target.is_relative_to(ROOT)
        name = target.relative_to(ROOT).as_posix() if inside else ""
        if name in PAGES:                  # the same page, made for those who read on GitHub
            name = f"nbs/how_to/{PAGES[name]}.ipynb"
        if link[1] != "!" and (name in pages or (ROOT / name).is_file() and inside):
            return f"[{link[2]}](/{name})"
        return link[0] if link[1] else f"{link[2]} (`{name or link[3]}`)"
    return LINK.sub(place, prose)


LOCAL = re.compile(r"\]\(/([^)\s]+)\)")


def bring_files(src: Path) -> None:
    "Rows, cards and scripts that the pages link to, beside them; those in Markdown become pages."
    for text in [*src.rglob("*.md"), *src.rglob("*.ipynb")]:
        for name in LOCAL.findall(text.read_text(encoding="utf-8")):
            target = src / name
            if target.exists(): continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix == ".md":
                prose = mended((ROOT / name).read_text(encoding="utf-8"), Path(name).parent, set())
                target.write_text(f"---\norphan: true\n---\n\n{prose}", encoding="utf-8")
            else:
                shutil.copy(ROOT / name, target)


HIDDEN = re.compile(r"^#\|\s*(hide|default_exp)\b", re.M)


def notebook(path: Path, pages: set[str]) -> str:
    "A chapter as the site shows it: hidden cells gone, directives too, links mended."
    nb = json.loads((ROOT / path).read_text(encoding="utf-8"))
    nb["metadata"]["language_info"] = {"name": "python"}
    shown = []
    for cell in nb["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "raw" or cell["cell_type"] == "code" and HIDDEN.search(source):
            continue
        if cell["cell_type"] == "markdown":
            source = mended(source, path.parent, pages)
        else:
            source = re.sub(r"^#\|.*\n?", "", source, flags=re.M).strip()
            if not source: continue
        cell["source"] = source
        shown.append(cell)
    nb["cells"] = shown
    return json.dumps(nb, ensure_ascii=False)


def api_page(module: str, told: set[int]) -> str:
    "The names of a room with signatures and docstrings; `told` are those of earlier pages."
    room = importlib.import_module(module)
    lines = [f".. automodule:: {module}", ""]
    for name, thing in sorted(vars(room).items()):
        home = getattr(thing, "__module__", None) or ""
        ours = home.startswith("pptrain.") and not name.startswith("_")
        named = inspect.isclass(thing) or inspect.isroutine(thing)
        if not (ours and named) or id(thing) in told: continue
        told.add(id(thing))
        kind = "class" if inspect.isclass(thing) else "function"
        lines += [f".. auto{kind}:: {module}.{name}", *["   :members:"] * (kind == "class"), ""]
    return f"# {module}\n\n```{{eval-rst}}\n" + "\n".join(lines) + "\n```\n"


def chapters() -> list[Path]:
    "Every notebook of the book, relative to the checkout, in reading order."
    found = [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if not p.is_symlink()]
    return [p.relative_to(ROOT) for p in found if not p.name.startswith((".", "_"))]


def widgets(folder: Path, families: list[str]) -> None:
    "A page per family that plays without a kernel."
    from pptrain import explore
    folder.mkdir(parents=True, exist_ok=True)
    for family in families:
        explore(family).to_html(folder / f"{family}.html")


def lay_out(src: Path) -> None:
    "Everything that Sphinx reads, in `src`."
    from pptrain import registered_tasks
    books = chapters()
    evidence = [Path(f"docs/{name}.md") for name in EVIDENCE if (ROOT / f"docs/{name}.md").exists()]
    plain = [Path("CONTRIBUTING.md"), Path("CHANGELOG.md"), Path("REPLICATIONS.md"), *evidence]
    pages = {p.as_posix() for p in [*books, *plain, Path("index.ipynb")]}
    for path in books:
        (src / path).parent.mkdir(parents=True, exist_ok=True)
        (src / path).write_text(notebook(path, pages), encoding="utf-8")
    for path in plain:
        (src / path).parent.mkdir(parents=True, exist_ok=True)
        text = mended((ROOT / path).read_text(encoding="utf-8"), path.parent, pages)
        (src / path).write_text(text, encoding="utf-8")
    root = json.loads(notebook(Path("index.ipynb"), pages))
    contents = dict(cell_type="markdown", id="contents", metadata={}, source=front(books, plain))
    root["cells"].append(contents)
    (src / "index.ipynb").write_text(json.dumps(root, ensure_ascii=False), encoding="utf-8")
    bring_files(src)
    shutil.copytree(ROOT / "docs/pictures", src / "docs/pictures", dirs_exist_ok=True)
    told: set[int] = set()
    (src / "api").mkdir()
    for module in FRONTS:
        (src / f"api/{module}.md").write_text(api_page(module, told), encoding="utf-8")
    families = [entry.name for entry in registered_tasks()]
    widgets(src / "extra/play", families)
    (src / "play.md").write_text(play_page(families), encoding="utf-8")
    (src / "_static").mkdir()
    for name in ("pptrain.css", "icon.svg"):
        shutil.copy(ROOT / "docs" / name, src / "_static")
    shutil.copy(ROOT / "docs/sphinx_conf.py", src / "conf.py")


def play_page(families: list[str]) -> str:
    "Links to the pages that move without a kernel, the first of them shown."
    lines = ["# play", "", "Pages that move without a kernel and without a network.", ""]
    for family in families:
        place = f"play/{family}.html"
        lines += [f'<h2>{family}</h2><p><a href="{place}">the whole page</a></p>',
                  f'<iframe src="{place}" title="{family}" loading="lazy"></iframe>', ""]
    return "\n".join(lines) + "\n"


def front(books: list[Path], plain: list[Path]) -> str:
    "All tables of contents, for the end of the root page."
    def under(folder: str) -> list[str]:
        return [p.with_suffix("").as_posix() for p in books if p.parts[1] == folder]
    how = [name for name in HOW_TOS if (ROOT / f"nbs/how_to/{name}.ipynb").exists()]
    ground = [p.with_suffix("").as_posix() for p in books if len(p.parts) == 2]
    parts = [
        tree("Start", ["play"]),
        tree("How to", [f"nbs/how_to/{name}" for name in how]),
        tree("Evidence", ["REPLICATIONS", *(p.with_suffix("").as_posix() for p in plain
                                            if p.parts[0] == "docs")]),
        tree("Names", [f"api/{module}" for module in FRONTS]),
        *(tree(f"Chapters: {room}", under(room)) for room in ROOMS if under(room)),
        tree("Chapters: ground", ground),
        tree("Project", ["CONTRIBUTING", "CHANGELOG"]),
    ]
    return "\n".join(parts)


class Links(HTMLParser):
    "The targets and the anchors of a page."

    def __init__(self):
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        for name in ("href", "src"):
            if values.get(name): self.targets.append(values[name])


def read_page(path: Path) -> Links:
    parser = Links()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def broken_links(site: Path) -> list[str]:
    "Links within the site that lead nowhere, anchors included."
    pages = {path: read_page(path) for path in site.rglob("*.html")}
    wrong = []
    for path, page in pages.items():
        if path.relative_to(site).parts[0] == "play": continue
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc: continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = there in pages and parts.fragment
            if not there.exists() or known and unquote(parts.fragment) not in pages[there].anchors:
                wrong.append(f"{path.relative_to(site)}: {target}")
    return wrong


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, default=ROOT / "_docs")
    out = parser.parse_args().out.absolute()
    src, site = out / "src", out / "html"
    for folder in (src, site):
        shutil.rmtree(folder, ignore_errors=True)
    src.mkdir(parents=True)
    lay_out(src)
    done = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
                           str(src), str(site)])
    if done.returncode: return done.returncode
    wrong = broken_links(site)
    print(*wrong, sep="\n", file=sys.stderr)
    print(f"{len(list(site.rglob('*.html')))} pages in {site}; {len(wrong)} broken links")
    if looked.CHROMIUM is None:
        print("not opened in a browser: no Chromium on the PATH")
        return int(bool(wrong))
    odd = looked.oddities(site)
    print(*odd, sep="\n", file=sys.stderr)
    print(f"opened in Chromium, light and dark, 390 pixels wide: {len(odd)} oddities")
    return int(bool(wrong or odd))


if __name__ == "__main__":
    sys.exit(main())
