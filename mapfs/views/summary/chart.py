"""Bars of block characters with an axis: the working set over time, for a terminal."""

from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
_STEPS = len(_BLOCKS) - 1


def bars(values: Sequence[int], height: int) -> list[str]:
    """`height` lines, the top one first, a column a value; whatever is above 0 shows at least the lowest block."""
    most = max(values, default=0) or 1
    eighths = [max(value > 0, value * height * _STEPS // most) for value in values]
    return [
        "".join(_BLOCKS[min(_STEPS, max(0, one - row * _STEPS))] for one in eighths) for row in reversed(range(height))
    ]


def chart(values: Sequence[int], height: int, left: str, right: str) -> list[str]:
    """Bars with their highest value before the top line, and below them an axis from `left` to `right`."""
    most = f"{max(values, default=0):,}"
    lines = bars(values, height)
    margin = [most, *[""] * (height - 1)]
    drawn = [f"{label:>{len(most)}} ┤{line}" for label, line in zip(margin, lines, strict=True)]
    axis = f"{'0':>{len(most)}} └{'─' * len(values)}"
    below = f"{'':>{len(most) + 2}}{left}{right:>{max(1, len(values) - len(left))}}"
    return [*drawn, axis, below]
