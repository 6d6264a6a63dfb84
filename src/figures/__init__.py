"""Figures: one look for all, the curves of experiments, and networks drawn from their recipes."""
