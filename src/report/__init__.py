"""A page about a run; `python -m src.report` is the command."""
