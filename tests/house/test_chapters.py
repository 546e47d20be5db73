"""How a chapter reads: the caps of the house. Each message names notebook, cell and cap."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import cells_of, notebooks

CELLS = 150                         # in a notebook
REACH = 3                           # code cells within which an export is put to work
CODE_RUN = 4                        # code cells in a row without prose; LAST is none
LAST = "import nbdev; nbdev.nbdev_export()"
WORDS = 120                         # of a prose cell
WIDTH = 100                         # of a line of code

FAMILY_HEADINGS = [
    "The story", "One example, by hand", "The picture", "Settings", "Sampling a problem",
    "Executing it", "Writing it down", "The family", "Refusals", "Presets",
    "Faithful to the paper", "Does a tiny model learn it?", "Play",
]
# these speak about families or papers; they export nothing
ESSAYS = ("how_to", "replication")


@dataclass
class Cell:
    "A cell with what the caps ask about it."
    id: str
    kind: str
    source: str
    tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        directives = re.findall(r"^#\|\s*([\w-]+)", self.source, re.M)
        self.directives = set(directives) if self.kind == "code" else set()
        self.exported = bool(self.directives & {"export", "exporti", "exports"})
        self.lines = [x for x in self.source.splitlines() if x.strip() and not x.startswith("#|")]

    @property
    def tree(self) -> ast.Module:
        "The parsed code, without the lines that IPython alone understands."
        lines = ["pass" if re.match(r"\s*[%!]", x) else x for x in self.source.splitlines()]
        try:
            return ast.parse("\n".join(lines))
        except SyntaxError:
            return ast.parse("")

    @property
    def asserts(self) -> bool:
        "Does it check something: an assert, or a call such as raises(...) or test_eq(...)?"
        nodes = list(ast.walk(self.tree))
        if any(isinstance(n, ast.Assert) for n in nodes):
            return True
        functions = [n.func for n in nodes if isinstance(n, ast.Call)]
        called = [getattr(f, "attr", getattr(f, "id", "")) for f in functions]
        return any(re.match(r"(raises|assert_|test_|refuse)", name) for name in called)

    @property
    def mentions(self) -> set[str]:
        return mentions(self.tree)

    @property
    def definitions(self) -> dict[str, ast.AST]:
        "Its top-level functions and classes."
        return {n.name: n for n in self.tree.body if isinstance(n, DEFINITION)}

    @property
    def bound(self) -> set[str]:
        "Names its top level defines or assigns."
        names = (n for n in ast.walk(self.tree) if isinstance(n, ast.Name))
        return {n.id for n in names if isinstance(n.ctx, ast.Store)} | self.definitions.keys()


DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def names_of(node: ast.AST) -> list[str]:
    "What a top-level statement names: its function or class, or the variables it assigns."
    if isinstance(node, DEFINITION): return [node.name]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [t.id for t in targets if isinstance(t, ast.Name)]


def mentions(tree: ast.AST, strings: bool = True) -> set[str]:
    "Every name, attribute and keyword in `tree`, and the words of its `strings`: ops go by name."
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name): found.add(node.id)
        elif isinstance(node, ast.Attribute): found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg: found.add(node.arg)
        elif strings and isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"\w+", node.value))
    return found


class Chapter:
    "A notebook as the caps see it."

    def __init__(self, path: Path):
        self.path = path
        self.cells = [Cell(c["id"], c["cell_type"], c["source"], c["metadata"].get("tags", []))
                      for c in cells_of(path)]
        self.code = [c for c in self.cells if c.kind == "code"]
        self.prose = [c for c in self.cells if c.kind == "markdown"]
        self.exports = [c for c in self.code if c.exported]
        matches = [re.match(r"#\|\s*default_exp\s+(\S+)", c.source) for c in self.code]
        names = [match.group(1) for match in matches if match]
        self.module = names[0] if names else None
        self.aliases, self.uses = self.graph()
        prose = "\n".join(c.source for c in self.prose)
        self.headings = [h.strip() for h in re.findall(r"^## +(.+)$", prose, re.M)]

    def graph(self) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        """Over the exported code: the names each definition goes by, and what each name uses.

        A function may be registered under another name.
        """
        aliases: dict[str, set[str]] = {}
        uses: dict[str, set[str]] = {}
        for node in (n for c in self.exports for n in c.tree.body):
            if isinstance(node, DEFINITION):
                calls = [d for d in node.decorator_list if isinstance(d, ast.Call) and d.args]
                registered = {d.args[0].value for d in calls if isinstance(d.args[0], ast.Constant)}
                aliases.setdefault(node.name, {node.name, node.name.rstrip("_")}).update(registered)
                uses.setdefault(node.name, set()).update(mentions(node, strings=False))
            elif isinstance(node, ast.Assign):
                targets = [t for target in node.targets for t in ast.walk(target)]
                words = mentions(node.value, strings=False)
                methods = {t.attr for t in targets if isinstance(t, ast.Attribute)}
                for owner in (t.id for t in targets if isinstance(t, ast.Name)):
                    uses.setdefault(owner, set()).update(words)
                for function in words & aliases.keys() if methods else ():
                    aliases[function] |= methods
        return aliases, uses

    def reach(self, words: set[str]) -> set[str]:
        "`words`, and all that the exported code behind them uses."
        found, new = set(), set(words)
        while new:
            found |= new
            new = set().union(*(self.uses.get(word, set()) for word in new)) - found
        return found

    def at(self, cell: Cell) -> str:
        return f"{self.path} cell {cell.id}"


ALL = [Chapter(p) for p in notebooks()]
CHAPTERS = [c for c in ALL if c.module]
FAMILIES = [c for c in CHAPTERS if re.fullmatch(r"tasks\.\w+\.family", c.module)]


def each(chapters: list[Chapter]):
    "Parametrize a test over `chapters`, named by their path."
    return pytest.mark.parametrize("chapter", chapters, ids=lambda c: str(c.path))


def none(found: Iterator[str] | list[str]) -> None:
    found = list(found)
    assert not found, "\n" + "\n".join(found)


# every notebook

@each(ALL)
def test_length(chapter):
    count = len(chapter.cells)
    assert count <= CELLS, f"{chapter.path} has {count} cells, at most {CELLS}"


@each(ALL)
def test_opens_with_title_and_subtitle(chapter):
    "`# title`, then `> one line that says what the page is about`."
    first = chapter.prose[0] if chapter.prose else Cell("?", "markdown", "")
    assert re.match(r"# \S.*\n+> \S", first.source), \
        f"{chapter.at(first)} must open with '# title' and '> subtitle'"


@each(ALL)
def test_prose_between_code(chapter):
    def found():
        run = 0
        for cell in chapter.cells:
            run = run + 1 if cell.kind == "code" else 0
            if run == CODE_RUN + 1 and cell.lines != [LAST]:
                place = f"{chapter.at(cell)} is code cell {run}"
                yield f"{place} in a row without prose, at most {CODE_RUN}"
    none(found())


@each(ALL)
def test_prose_is_short(chapter):
    words = {c.id: len(c.source.split()) for c in chapter.prose}
    none(f"{chapter.at(c)} has {words[c.id]} words, at most {WORDS}"
         for c in chapter.prose if words[c.id] > WORDS)


@each([c for c in ALL if not c.module])
def test_essays_export_nothing(chapter):
    places = [chapter.at(cell) for cell in chapter.exports]
    none([f"{place} exports, but the notebook has no default_exp" for place in places])


@each([c for c in ALL if c.path.parent.name in ESSAYS])
def test_essays_have_no_module(chapter):
    complaint = f"{chapter.path} is an essay; the library lives in the numbered chapters"
    assert not chapter.module, complaint


@each([c for c in ALL if c.path.parent.name == "replication"])
def test_replications_take_parameters(chapter):
    "papermill injects its values behind the one cell tagged `parameters`."
    tagged = [c.id for c in chapter.code if "parameters" in c.tags]
    complaint = f"{chapter.path} needs exactly 1 cell tagged 'parameters', it has {tagged}"
    assert len(tagged) == 1, complaint


# chapters that export

@each(CHAPTERS)
def test_frame(chapter):
    "default_exp first, annotations postponed in the first export, the export of the book last."
    first, last = chapter.code[0], chapter.code[-1]
    start = f"#| default_exp {chapter.module}"
    assert "default_exp" in first.directives, f"{chapter.at(first)} must be `{start}`"
    if chapter.exports:
        opening = chapter.exports[0]
        start = "from __future__ import annotations"
        complaint = f"{chapter.at(opening)}: the first export must start with `{start}`"
        assert opening.lines[:1] == [start], complaint
    complaint = f"{chapter.at(last)} must be the hidden cell that calls nbdev.nbdev_export()"
    assert "hide" in last.directives, complaint
    assert "nbdev_export()" in last.source, complaint
    for cell in chapter.cells:
        beside = f"{chapter.at(cell)}: nbdev_test leaves out a cell that exports; {LAST!r} alone"
        assert "nbdev_export()" not in cell.source or cell.lines == [LAST], beside


def at_work(chapter: Chapter, i: int, name: str, seen: set[str]) -> bool:
    """Do the REACH code cells after cell `i` assert something that runs its export `name`?

    An example may first build something with it. An export among them that uses it passes the duty
    on: where that one is put to work, so is this one. What Python calls by itself (`__len__`)
    counts in any example.
    """
    if name in seen: return False
    seen.add(name)
    known, built = chapter.aliases.get(name, {name}), set()
    implicit = any(re.match(r"__|_repr_", alias) for alias in known)
    for j, cell in enumerate(chapter.code[i:i + 1 + REACH], start=i):
        if cell.exported:
            using = [node for node in cell.tree.body if known & mentions(node, strings=False)]
            users = [user for node in using for user in names_of(node)]
            if any(at_work(chapter, j, user, seen) for user in users): return True
        elif implicit or known & chapter.reach(cell.mentions) or built & cell.mentions:
            if cell.asserts: return True
            built |= cell.bound
    return False


def idle(chapter: Chapter) -> Iterator[str]:
    "Exports that no example puts to work."
    for i, cell in enumerate(chapter.code):
        for name in cell.definitions if cell.exported else ():
            if not at_work(chapter, i, name, set()):
                place = f"{chapter.at(cell)} exports {name}"
                yield f"{place}; no example in {REACH} code cells asserts with it"


@each(CHAPTERS)
def test_exports_are_put_to_work(chapter):
    none(idle(chapter))


@each(CHAPTERS)
def test_classes_are_whole(chapter):
    "A method stands in its class, so that editors, checkers and tracebacks know it by its name."
    def found():
        for cell in chapter.exports:
            for node in cell.tree.body:
                for target in getattr(node, "targets", ()):
                    for part in getattr(target, "elts", [target]):
                        if isinstance(part, ast.Attribute):
                            yield f"{chapter.at(cell)} attaches {ast.unparse(part)} from outside"
    none(found())


@each(CHAPTERS)
def test_lines_fit_a_page(chapter):
    def found():
        for cell in chapter.code:
            for line in cell.source.splitlines():
                if len(line) > WIDTH:
                    place = f"{chapter.at(cell)} has a line of {len(line)} columns"
                    yield f"{place}, at most {WIDTH}: {line.strip()[:50]} …"
    none(found())


@each(CHAPTERS)
def test_public_names_are_documented_and_used(chapter):
    "Public functions and classes have a docstring; a public name occurs again in its chapter."
    statements = [(cell, node) for cell in chapter.code for node in cell.tree.body]
    occurrences = [(node, mentions(node)) for _, node in statements]

    def found():
        for cell, node in statements:
            if not cell.exported or "exporti" in cell.directives: continue
            for name in names_of(node):
                if name.startswith("_"): continue
                if isinstance(node, DEFINITION) and not ast.get_docstring(node):
                    yield f"{chapter.at(cell)} exports {name} without a docstring"
                aliases = chapter.aliases.get(name, {name})
                if not any(aliases & words for other, words in occurrences if other is not node):
                    yield f"{chapter.at(cell)} exports {name}, which its chapter never uses"
    none(found())


SHOWN = ("image/png", "image/svg+xml", "text/html")


@each([c for c in CHAPTERS if c.path.name != "index.ipynb"])
def test_shows_a_picture_or_a_table(chapter):
    "Every page stores something to look at."
    outputs = [o for cell in cells_of(chapter.path) for o in cell.get("outputs", [])]
    kinds = {kind for o in outputs for kind in o.get("data", {})}
    assert kinds & set(SHOWN), f"{chapter.path} stores no picture and no table"


# family chapters

@each(FAMILIES)
def test_family_chapters_share_their_headings(chapter):
    "A reader who knows one family chapter knows where to look in all of them."
    path, headings = chapter.path, chapter.headings
    if headings[-1:] == ["Export"]: headings = headings[:-1]
    missing = [h for h in FAMILY_HEADINGS if h not in headings]
    extra = [h for h in headings if h not in FAMILY_HEADINGS]
    assert not missing, f"{path} lacks the sections {missing}"
    assert not extra, f"{path} has further sections {extra}: make them '###' below a shared one"
    assert headings == FAMILY_HEADINGS, f"{path} has its sections out of order: {headings}"
