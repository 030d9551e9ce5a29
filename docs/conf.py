"""Configuration of the documentation site: `make site` writes it to build/site, `make serve` shows it."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

DOCS = Path(__file__).resolve().parent
EXTRA = DOCS / "made" / "extra"  # files that are copied as they are: the explorer's
EXTRA.mkdir(parents=True, exist_ok=True)
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

project = "Lightning Zoo"
author = "The Lightning Zoo authors"
release = version = version_of("lightning-zoo")
copyright = f"the Lightning Zoo authors; Apache-2.0; version {release}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # its role `autolink`: a name in backquotes is a link where it names something
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "builder.katex",
    "builder.pages",
]
exclude_patterns = ["builder", "_static", "made", "*.py"]
suppress_warnings = ["config.cache"]

# Pages
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "html_image"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
html_math_renderer = "katex_static"

# Docstrings
default_role = "autolink"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autosummary_generate = False
napoleon_numpy_docstring = False
toc_object_entries_show_parents = "hide"

# Looks
html_theme = "pydata_sphinx_theme"
html_title = "Lightning Zoo"
html_static_path = ["_static"]
html_extra_path = ["made/extra"]
html_css_files = ["katex/katex.min.css", "site.css"]
html_js_files = [("filter.js", {"defer": "defer"})]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_favicon = "_static/icon.svg"
smartquotes = False  # `--option` stays as it is
html_search_scorer = str(DOCS / "builder" / "scorer.js")
html_sidebars = {
    name: []
    for name in (
        "index",
        "start",
        "extend",
        "reliability",
        "scale",
        "evidence/explorer",
        "models/index",
        "tricks/index",
        "tricks/pairs",
    )
}
html_theme_options: dict[str, object] = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 8,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "check_switcher": False,
}
if "SITE_URL" in os.environ:  # of the published site, which has all versions: the bar offers them
    html_theme_options |= {
        "switcher": {
            "json_url": f"{os.environ['SITE_URL']}/versions.json",  # written by docs/versions.py
            "version_match": os.environ.get("SITE_VERSION", "main"),
        },
        "navbar_end": ["version-switcher", "theme-switcher", "navbar-icon-links"],
        "header_links_before_dropdown": 6,  # the bar stays one line
    }
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True
