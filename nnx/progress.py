"""A progress bar over the epochs of a training run, where one is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nnx.backends.errors import MissingDependencyError
from nnx.history import History


@contextmanager
def progress_bar(
    epochs: int, history: History, *, shown: bool, asked_by: str = "progress=True"
) -> Iterator[Callable[[], None]]:
    """Yield what to call after each epoch, when the history has it."""
    if not shown:
        yield lambda: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise MissingDependencyError("tqdm", "progress", asked_by) from None
    with tqdm(total=epochs, unit="epoch") as bar:

        def advance() -> None:
            values = {"cost": history["cost"][-1]}
            if "validation_score" in history:
                values["validation"] = history["validation_score"][-1]
            bar.set_postfix(values, refresh=False)
            bar.update()

        yield advance
