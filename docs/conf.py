"""Sphinx configuration."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "trio-livekit"
author = "The trio-livekit authors"
copyright = "2026, the trio-livekit authors"
version = release = installed_version("trio-livekit")

extensions = ["myst_parser", "sphinx.ext.autodoc", "events_table"]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "**/.pytest_cache"]

html_theme = "alabaster"
html_theme_options = {"page_width": "1040px"}
html_title = "trio-livekit"
html_show_sphinx = False
