"""The time of the loop over the examples beside that of matrix products."""

from collections.abc import Mapping
from typing import Any

from nnx.examples.pictures import BLUE, GREEN, VERMILLION, new_picture


def draw(seconds: Mapping[str, Mapping[int, float]]) -> Any:
    """Draw the times of all examples as bars, and over the number of examples as lines."""
    times = {name: list(of_m.values())[-1] for name, of_m in seconds.items()}
    m, slowest = max(next(iter(seconds.values()))), max(times.values())
    colors = dict(zip(seconds, (VERMILLION, BLUE, GREEN), strict=True))
    title = "The same gradient: a loop over the examples against matrix products"
    with new_picture(title, (10, 4.8)) as figure:
        left, right = figure.subplots(1, 2)
        left.barh(list(times), [1e3 * time for time in times.values()], color=colors.values())
        for row, (name, time) in enumerate(times.items()):
            faster = f", {slowest / time:,.0f} times as fast" if time < slowest / 1.5 else ""
            inside = time > slowest / 2
            left.text(
                1e3 * time, row, f" {1e3 * time:,.3g} ms{faster} ", va="center",
                ha="right" if inside else "left", color="white" if inside else colors[name],
            )  # fmt: skip
        left.set(title=f"$m$ = {m:,} examples", xlabel="time (ms)")
        left.invert_yaxis()
        left.grid(visible=False, axis="y")
        for (name, of_m), marker in zip(seconds.items(), "so^", strict=True):
            values = [1e3 * time for time in of_m.values()]
            right.plot(list(of_m), values, color=colors[name], marker=marker, label=name)
        right.set(title="Time over the number of examples", xscale="log", yscale="log")
        right.set(xlabel="examples $m$", ylabel="time (ms)")
        right.legend()
    return figure
