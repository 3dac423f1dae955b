"""What a training run recorded, epoch by epoch."""

from __future__ import annotations

from typing import Any

from nnx.backends.errors import MissingDependencyError


class History(dict[str, list[float]]):
    """A dict of lists, one entry per epoch.

    "cost" (mean over the epoch's batches, each before its step), "learning_rate" (of the last
    step), "seconds", and with validation data "validation_cost" (without penalties) and
    "validation_score" (accuracy, or R^2 for values).

    Attributes
    ----------
    chosen : dict
        How the last run went: "batch_size", "block_size" (the same where batches were taken as a
        whole), "data" ("device" or "stream") and "steps" ("compiled", "graph", "primitives", or
        "layers" one by one).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.chosen: dict[str, int | str] = {}

    @property
    def epochs(self) -> int:
        """How many epochs were run."""
        return len(self.get("cost", ()))

    def record(self, **values: float) -> None:
        """Append one epoch."""
        for name, value in values.items():
            self.setdefault(name, []).append(float(value))

    def plot(self, ax: Any = None) -> Any:
        """Draw the cost, and the validation cost where there is one, over the epochs.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default a new figure's.

        Returns
        -------
        matplotlib Axes
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise MissingDependencyError("matplotlib", "plot", "History.plot") from None
        if ax is None:
            _, ax = plt.subplots()
        names = [name for name in ("cost", "validation_cost") if self.get(name)]
        for name in names:
            values = self[name]
            ax.plot(range(1, len(values) + 1), values, label=name.replace("_", " "))
        positive = names and all(value > 0 for name in names for value in self[name])
        ax.set(xlabel="epoch", ylabel="cost J", yscale="log" if positive else "linear")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(no epochs)"
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.items() if values)
        how = "".join(f"; {name} {value}" for name, value in self.chosen.items())
        return f"History({self.epochs} epochs; last: {last}{how})"
