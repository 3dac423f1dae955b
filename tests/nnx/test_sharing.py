"""How a compiled step is shared out: pieces that fit, and programs that stay in their buffers."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends.cpu import aligned
from nnx.compiled import Program
from nnx.sharing import Sharing, pieces
from nnx.step import OptimizerState


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 1 << 17))
def test_no_piece_exceeds_the_room(rows: int, columns: int, spare: int) -> None:
    room = columns + spare
    found = pieces(rows, columns, room)
    assert [i for piece in found for i in range(rows)[piece]] == list(range(rows))
    assert max(piece.stop - piece.start for piece in found) * columns <= room


@settings(max_examples=500)
@example([10, 274, 54], 51, 2)
@given(
    st.lists(st.integers(10, 2500), min_size=2, max_size=6),
    st.integers(50, 20_000),
    st.integers(1, 4),
)
def test_a_step_holds_a_tenth_more_than_it_must(n: list[int], m: int, workers: int) -> None:
    """Beside parameters, gradient, batch and an A for each layer.

    In small networks 512 numbers for each worker are more: its row of db[L], its row for J, and
    what fills up the last cache line of an array.
    """
    parameters = sum(a * b + b for a, b in pairwise(n))
    sharing = Sharing(tuple(n), m, workers, parameters)
    held = sharing.numbers(keeps_Z=[False] * (len(n) - 1)) - m * sum(n[1:])
    assert held <= 0.1 * (2 * parameters + m * sum(n)) + 512 * workers


# 512 examples of 640 units in five equal pieces of 65,536 numbers would be 103 examples: too many.
@pytest.mark.parametrize(("units", "m"), [(640, 1024), (640, 1100), (600, 300), (1500, 200)])
def test_a_step_writes_nothing_beyond_its_buffers(
    units: int, m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards: list[Any] = []

    def guarded(shape: tuple[int, ...], dtype: Any) -> Any:
        size = math.prod(shape)
        room = aligned((size + 4096,), dtype)
        room[size:] = 77
        guards.append(room[size:])
        return room[:size].reshape(shape)

    monkeypatch.setattr("nnx.compiled_writer.aligned", guarded)
    net = nnx.MLP([8, units, units, 3], device="cpu")
    optimizer = nnx.GradientDescent(0.1)
    state = OptimizerState(net, optimizer)
    for gathered in (False, True):
        program = Program(
            net, m, 2, state.gradient, state.slots, optimizer.rule,
            labels=True, weighted=False, gathered=gathered,
        )  # fmt: skip
        X = np.asfortranarray(np.random.default_rng(0).standard_normal((8, m)), np.float32)
        index = np.arange(m) if gathered else None
        program.launch(X, np.arange(m) % 3, None, index, np.full(1, 0.1), 1)
    assert guards
    assert all((guard == 77).all() for guard in guards)
