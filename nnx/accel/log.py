"""The log of what runs in scikit-learn, and why: the logger "nnx.accel", set by NNX_ACCEL_LOG.

NNX_ACCEL_LOG is a level ("off", "error", "warning", "info", "debug") for standard error, or a path
(it has a "/" or a "."), to which lines of level "info" are appended with time and process. Without
it the level is "warning".
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from nnx.backends.errors import DataError

LEVELS = {"off": logging.CRITICAL + 1, "error": 40, "warning": 30, "info": 20, "debug": 10}

logger = logging.getLogger("nnx.accel")
_handler: logging.Handler | None = None
_said: set[str] = set()


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what is standard error at the time, since programs and pytest exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def start() -> str | None:
    """Open the log as NNX_ACCEL_LOG says; return the whole path of its file, if it is one.

    Raises
    ------
    DataError
        Where it is neither a level nor a path, or where the file cannot be opened.
    """
    global _handler
    setting = os.environ.get("NNX_ACCEL_LOG", "").strip() or "warning"
    handler: logging.Handler
    file = None
    if setting.lower() in LEVELS:
        handler, level = _StandardError(), LEVELS[setting.lower()]
        handler.setFormatter(logging.Formatter("nnx.accel: %(message)s"))
    elif os.sep in setting or "." in setting:
        try:
            file, level = os.path.abspath(setting), logging.INFO
            handler = logging.FileHandler(file, encoding="utf-8")
        except OSError as error:
            raise DataError(f"NNX_ACCEL_LOG={setting!r} cannot be written: {error}") from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    else:
        raise DataError(
            f"NNX_ACCEL_LOG={setting!r} is no level ({', '.join(LEVELS)}) and no path "
            "(a path has a '/' or a '.')"
        )
    stop()
    _handler = handler
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return file


def stop() -> None:
    """Close the log and forget what was said."""
    global _handler
    if _handler is not None:
        logger.removeHandler(_handler)
        _handler.close()
    _handler = None
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    _said.clear()


def once(level: int, message: str) -> None:
    """Log a line the first time in this process; later ones are of level "debug"."""
    logger.log(logging.DEBUG if message in _said else level, message)
    _said.add(message)
