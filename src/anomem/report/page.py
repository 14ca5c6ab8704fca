"""Templates of pages."""

from __future__ import annotations

import jinja2


def template(package: str, name: str) -> jinja2.Template:
    """Load a template of a package, from its folder ``templates``; what it shows is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package), autoescape=True, trim_blocks=True
    )
    return environment.get_template(name)
