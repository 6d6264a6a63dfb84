"""Weights from other programs' files, and for them."""
