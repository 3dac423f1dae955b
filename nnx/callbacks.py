"""What can watch a training run: a function f(net, history), or a `Callback`: EarlyStopping."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from nnx.backends.errors import DataError
from nnx.history import History
from nnx.inputs import check_number
from nnx.model import Model


class Callback(ABC):
    """Called after each epoch; what needs no start and no end may be a plain function."""

    @abstractmethod
    def __call__(self, net: Model, history: History) -> bool | None:
        """See the epoch that has just ended; True stops the training."""

    def start(self, net: Model) -> None:  # noqa: B027 (most callbacks need none)
        """Get ready for a run."""

    def end(self, net: Model) -> None:  # noqa: B027 (most callbacks need none)
        """Finish after the last epoch, whatever ended the run."""


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Prechelt (1998), "Early stopping - but when?", the third class of criteria.

    Parameters
    ----------
    patience : int
        Epochs without progress until it stops.
    min_delta : float
        What counts as progress.
    monitor : str
        A key of the history; "validation_score" is to grow, everything else to fall.
    restore_best : bool
        Whether the parameters of the best epoch are put back at the end.

    Attributes
    ----------
    best : float
    best_epoch : int
        Counted from 1.
    """

    def __init__(
        self,
        patience: int = 10,
        *,
        min_delta: float = 0.0,
        monitor: str = "validation_cost",
        restore_best: bool = True,
    ) -> None:
        check_number("EarlyStopping: patience", patience, 1, whole=True)
        check_number("EarlyStopping: min_delta", min_delta, 0)
        self.patience, self.min_delta = patience, min_delta
        self.monitor, self.restore_best = monitor, restore_best
        self._sign = -1.0 if monitor == "validation_score" else 1.0
        self._reset()

    def _reset(self) -> None:
        self.best, self.best_epoch = self._sign * math.inf, 0
        self._waited = 0
        self._theta: Any = None

    def start(self, net: Model) -> None:
        """Forget an earlier run."""
        self._reset()

    def __call__(self, net: Model, history: History) -> bool:
        """Compare the epoch with the best so far."""
        if not history.get(self.monitor):
            raise DataError(
                f"EarlyStopping watches {self.monitor!r}, which this run does not record "
                f"({', '.join(history)}); pass validation=... to fit, or another monitor"
            )
        value = history[self.monitor][-1]
        if self._sign * (self.best - value) > self.min_delta or not self.best_epoch:
            self.best, self.best_epoch, self._waited = value, history.epochs, 0
            if self.restore_best:
                self._theta = net.backend.asarray(net.theta, copy=True)
            return False
        self._waited += 1
        return self._waited >= self.patience

    def end(self, net: Model) -> None:
        """Put the best parameters back."""
        if self._theta is not None:
            net.theta[...] = self._theta
            self._theta = None
