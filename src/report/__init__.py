"""The report: an HTML page about a trained run; `python -m src.report` is the command."""
