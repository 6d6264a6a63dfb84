"""Figures: one look for all, the curves of experiments, and networks drawn from their recipes."""

import importlib.util

from ..errors import UserError

EXTRA = ("jinja2", "matplotlib")


def check_extra() -> None:
    """Raises UserError if a package that draws figures or pages is not installed."""
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        raise UserError(f"{' and '.join(missing)} not installed: pip install -e '.[report]'")
