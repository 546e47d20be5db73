"""Sphinx's settings; `docs/website.py` puts them beside the pages it lays out."""
from __future__ import annotations

import re

import pptrain

project = "pptrain"
author = "The pptrain authors"
copyright = author
release = pptrain.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "pptrain"
html_favicon = "_static/icon.svg"
html_copy_source = False      # a notebook's JSON is no page to look at
html_show_sourcelink = False
html_extra_path = ["extra"]
exclude_patterns = ["extra"]
html_css_files = ["pptrain.css"]
html_static_path = ["_static"]
autodoc_typehints = "none"
autodoc_default_options = {"member-order": "bysource"}
suppress_warnings = ["myst.header", "mystnb.mime_priority"]


def as_prose(app, what, name, thing, options, lines: list[str]) -> None:
    "Our docstrings are sentences with `code` in them, and no other markup."
    parts = re.split(r"`([^`]+)`", "\n".join(lines))
    parts[::2] = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"``{' '.join(part.split())}``\\ " for part in parts[1::2]]
    lines[:] = "".join(parts).split("\n")


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_prose)
