"""Settings of Sphinx for the documentation site, which `make site` builds."""

import re
from pathlib import Path

from docutils.parsers.rst import roles
from sphinx.domains.python import PyXRefRole

from dsb2018 import __version__

ROOT = Path(__file__).resolve().parents[1]

project = "dsb2018"
author = "The dsb2018 contributors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The source folder is the repository, so that a relative link leads to the same file on GitHub and
# in the site.
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/**.md", "datasets/README.md"]
exclude_patterns = [  # not searched: they may be large
    folder.relative_to(ROOT).as_posix()
    for parent in (ROOT, ROOT / "datasets")
    for folder in parent.iterdir()
    if folder.is_dir() and folder.name not in ("docs", "datasets")
]
myst_heading_anchors = 6  # all levels, as on GitHub
highlight_language = "none"  # of blocks without a language: output and file trees

default_role = "name_or_code"  # of text in single backticks, see below
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autoclass_content = "both"  # constructors have docstrings of their own
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "dsb2018"
html_static_path, html_css_files = ["site_static"], ["wide.css"]
html_extra_path = ["site_root"]
html_copy_source = False
html_show_copyright = False


def name_or_code(name, rawtext, text, lineno, inliner, options=None, content=()):
    """The role of text in single backticks: a link if it is a documented name, else code."""
    role = PyXRefRole() if re.fullmatch(r"[A-Za-z_][\w.]*", text) else roles.code_role
    return role("py:obj", rawtext, text, lineno, inliner, options or {}, content)


def find_in_modules(app, env, node, contnode):
    """Links the name of a class or function in the docstring of another module, if it is unique."""
    if node.get("reftype") != "obj":
        return None
    name, domain = node["reftarget"], env.get_domain("py")
    members = ("attribute", "method", "property")
    found = [
        full_name
        for full_name, entry in domain.objects.items()
        if full_name.endswith(f".{name}") and ("." in name or entry.objtype not in members)
    ]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)


def convert_returns(app, what, name, obj, options, lines: list[str]) -> None:
    """Makes each section "Returns:" a field.

    Napoleon would take the words before a colon for a type. Here, annotations are the types.
    """
    lines[:] = [":returns:" if line == "Returns:" else line for line in lines]


def convert_defaults(app, what, name, obj, options, signature, returns):
    """Writes the defaults of dataclasses so that Sphinx can parse them: factories and enums."""
    if not signature:
        return None
    signature = signature.replace("<factory>", "...")
    return re.sub(r"<([\w.]+): \d+>", r"\1", signature), returns


def setup(app) -> None:
    """Sphinx calls this function."""
    app.add_role("name_or_code", name_or_code)
    app.connect("missing-reference", find_in_modules)
    app.connect("autodoc-process-docstring", convert_returns, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", convert_defaults)
