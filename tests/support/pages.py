"""What tests of pages measure."""

import re


def brightness(color: str) -> float:
    """Of CSS's rgb(…), from 0 to 1."""
    return sum(map(int, re.findall(r"\d+", color)[:3])) / (3 * 255)
