"""Cells of the tables that people open in a spreadsheet."""


def plain_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: a quote goes before = + - @ and control characters."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
