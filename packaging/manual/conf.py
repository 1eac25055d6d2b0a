"""The Sphinx configuration of the manual: `make man` and `make html`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from mcrelay_manual.code import VERSION  # noqa: E402

project = "mcrelay manual"
version = release = VERSION
copyright = ""
today = " "  # pages have no date, so that a build can be repeated

extensions = ["myst_parser", "mcrelay_manual"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_static"]
nitpicky = True
smartquotes = False  # what a page shows can be typed
highlight_language = "none"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 0

man_make_section_directory = False
# A source `NAME.SECTION.md` is the page NAME(SECTION). Its section "Name" describes it, so Sphinx need not.
man_pages = [
    (page.stem, page.stem[:-2], "", [], int(page.stem[-1])) for page in sorted(HERE.glob("*.[0-9].md"))
]

html_theme = "alabaster"
html_title = f"mcrelay {VERSION} manual"
html_static_path = ["_static"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_theme_options = {
    "description": "relays UDP multicast from sources that cannot be routed",
    "fixed_sidebar": True,
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "page_width": "1100px",
    "sidebar_width": "260px",
}
