"""Renders the templates of web pages."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **content: object) -> str:
    """Renders a template. All text in the content is escaped, unless it is `Markup`.

    Args:
        template: file name in `TEMPLATES`.
        content: variables of the template.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)
