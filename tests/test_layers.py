"""Imports point down only, heavy libraries load late, and importing pptrain is cheap."""
from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

DATA = {"vocab", "data"}
BASE = DATA | {"config", "core", "show", "parity"}
MIDDLE = {"integrations", "transfer", "corpora"}
STUDY = {"study", "report", "grid"}
MEASURE = {"eval", "analytics"}
VIEWS = {"views", "explorer", "scenes", "monitoring", "inspector", "comparison", "gallery", "serving", "widgets"}

# module -> (level, the pptrain modules it may import). `tasks.*` stands for each family; families never meet.
# `replays.*` holds the evidence for one family, where that is longer than the family; it is loaded by name.
# `parts.*` are what a family is built from, where that is a chapter of its own.
LAYERS: dict[str, tuple[int, set[str]]] = {
    "vocab": (0, set()),
    "data": (0, {"vocab"}),
    "config": (1, {"vocab"}),
    "core": (1, DATA | {"config"}),
    "show": (2, DATA),
    "parity": (2, DATA | {"core"}),
    "parts.*": (3, BASE | {"parts.*"}),
    "tasks.*": (3, BASE | {"parts.*"}),
    "replays.*": (4, BASE | {"parts.*", "tasks.*", "replays.*"}),
    **{name: (4, DATA | MIDDLE) for name in MIDDLE},
    "trainer": (5, DATA | {"config", "core"} | MIDDLE),
    **{name: (6, BASE | MIDDLE | MEASURE | {"trainer", "tasks.*"}) for name in MEASURE},
    **{name: (7, BASE | MIDDLE | MEASURE | STUDY | {"trainer", "tasks.*"}) for name in STUDY},
    "views": (8, BASE),
    **{name: (8, BASE | MIDDLE | MEASURE | STUDY | {"trainer", "tasks.*", "parts.*", *VIEWS}) for name in VIEWS - {"views"}},
    "cli": (8, BASE | MIDDLE | MEASURE | STUDY | {"trainer", "tasks.*", "serving", "widgets"}),
}

# third-party library -> the lowest level that may load it at import; modules below do so inside functions
LIBRARIES = {
    "numpy": 0, "tqdm": 0, "yaml": 0, "pydantic": 4,
    "torch": 4, "transformers": 4, "tokenizers": 4, "safetensors": 4, "datasets": 4, "huggingface_hub": 4,
    "accelerate": 4,
    "scipy": 6, "pandas": 7, "papermill": 7, "nbclient": 7, "nbconvert": 7, "nbformat": 7,
    "plotly": 8, "PIL": 8, "matplotlib": 8, "IPython": 8, "ipywidgets": 8, "anywidget": 8, "traitlets": 8,
    "typer": 8, "click": 8,
}
EXCEPTIONS = {("tasks.nca", "torch"), ("parts.automata", "torch")}  # a rollout is a network
NEVER = {"fastcore", "nbdev", "execnb", "ghapi"}  # authoring tools, pinned to old releases
NOT_LAYERED = {"", "_modidx", "parts", "tasks", "replays"}


def module_name(path: Path) -> str:
    "pptrain/tasks/dyck.py -> tasks.dyck; pptrain/__init__.py -> ''."
    parts = path.relative_to(ROOT / "pptrain").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(p): p for p in sorted((ROOT / "pptrain").rglob("*.py"))}
LAYERED = sorted(MODULES.keys() - NOT_LAYERED)


def row(module: str) -> str:
    "The row of LAYERS that speaks about `module`."
    package = module.split(".")[0]
    return f"{package}.*" if package in ("parts", "tasks", "replays") and package != module else module


def imports(module: str) -> Iterator[tuple[int, str, bool]]:
    "(line, absolute dotted name, runs at import) of every import in `module`; `from a import b` gives a.b."
    package = ["pptrain", *module.split(".")[:-1]]

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[int, str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((node.lineno, ".".join([*base, alias.name]), at_import) for alias in node.names)
        later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import and not later and not typing_only)

    yield from visit(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)


def inner(name: str) -> str | None:
    "The pptrain module that the dotted `name` names or lies in, '' for the package, None for others."
    if name.split(".")[0] != "pptrain":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def violations(module: str) -> Iterator[str]:
    "One sentence per import of `module` that the tables do not allow."
    level, may = LAYERS[row(module)]
    for line, name, at_import in imports(module):
        place = f"pptrain/{MODULES[module].relative_to(ROOT / 'pptrain')}:{line} imports {name}"
        target, library = inner(name), name.split(".")[0]
        if target is not None:
            if target == module or (target in {"_modidx"}):
                yield f"{place}: itself or nbdev's index"
            elif target in {"", "parts", "tasks", "replays"}:
                if level < 8: yield f"{place}: import the module that defines it, not the package"
            elif target.startswith("tasks.") and module.startswith("tasks."):
                yield f"{place}: families never import each other"
            elif row(target) not in may:
                yield f"{place}: level {level} may not import {target} (level {LAYERS[row(target)][0]})"
        elif library in NEVER:
            yield f"{place}: authoring tools stay out of the package"
        elif at_import and library not in sys.stdlib_module_names and (module, library) not in EXCEPTIONS:
            if library not in LIBRARIES:
                yield f"{place}: put {library} into LIBRARIES of tests/test_layers.py and into settings.ini"
            elif level < LIBRARIES[library]:
                yield f"{place}: level {level} may in functions only, level {LIBRARIES[library]} anywhere"


def test_every_module_has_a_level():
    homeless = [m for m in LAYERED if row(m) not in LAYERS]
    assert not homeless, f"put these modules into LAYERS of tests/test_layers.py: {homeless}"


@pytest.mark.parametrize("module", LAYERED)
def test_imports_point_down(module):
    if row(module) not in LAYERS:
        pytest.skip("no level yet")
    found = list(violations(module))
    assert not found, "\n" + "\n".join(found)


def test_package_door_is_light():
    "pptrain/__init__.py and tasks/__init__.py load nothing but the standard library."
    for module in ("", "parts", "tasks", "replays"):
        names = [name for _, name, at_import in imports(module) if at_import]
        heavy = [n for n in names if n.split(".")[0] not in sys.stdlib_module_names]
        assert not heavy, f"pptrain/{module}/__init__.py imports {heavy} at once; make it lazy"


def loaded_by(statement: str) -> set[str]:
    "Top-level names in sys.modules after `statement` in a fresh interpreter that runs elsewhere."
    code = f"import sys; {statement}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{statement} failed:\n{done.stderr}"
    return set(done.stdout.split())


LIGHT = ["", "vocab", "data", "config", "core", "show", "parity", "tasks.dyck", "tasks.procedural", "tasks.simpler_tasks", "tasks.lime",
         "tasks.summarization"]


@pytest.mark.parametrize("module", [m for m in LIGHT if m in MODULES], ids=lambda m: m or "pptrain")
def test_light_import(module):
    loaded = loaded_by(f"import pptrain{'.' * bool(module)}{module}")
    heavy = loaded & ({"torch", "transformers", "plotly", "matplotlib", "pandas", "datasets"} | NEVER)
    assert not heavy, f"import pptrain.{module} loads {sorted(heavy)}"


def test_no_module_loads_authoring_tools():
    public = [f"pptrain.{m}" if m else "pptrain" for m in MODULES if m != "_modidx"]
    loaded = loaded_by("import " + ", ".join(public))
    assert not loaded & NEVER, f"importing the package loads {sorted(loaded & NEVER)}"
