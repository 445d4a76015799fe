"""Names in the order of the numbers in them."""

import re


def by_number(name: str) -> list[tuple[int, str]]:
    """A key to sort by, so that file_10 comes after file_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
