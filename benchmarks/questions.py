"""The questions of `nnx.benchmarks.probe`, each a method that finds one row of the record."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

import nnx
from nnx.backends import Backend
from nnx.backends.cuda.graph import MOST_LAUNCHES, GraphStream, Launch, Recording
from nnx.backends.cuda.products import NoAlgorithmError, Product
from nnx.backends.cuda.step_kernels import HOLDERS
from nnx.benchmarks.products import graph_program, plain_recording
from nnx.graph_program import GraphProgram
from nnx.precision import numbers

# (rows, columns, inner) of a product, by size: a hidden layer, an output of 10 and of 1 unit.
SHAPES = {"hidden": (512, 4096, 784), "10 outputs": (16, 4096, 512), "1 output": (8, 4096, 512)}
LAYOUTS = {"TN": (True, False), "NN": (False, False), "NT": (False, True)}
EPILOGUES = {  # which layouts a training step uses them in; the first is the plain product
    "DEFAULT": tuple(LAYOUTS),
    "BIAS": ("TN",),
    "RELU_AUX_BIAS": ("TN",),
    "GELU_AUX_BIAS": ("TN",),
    "DRELU": ("NN",),
    "DRELU_BGRAD": ("NN",),
    "DGELU": ("NN",),
    "DGELU_BGRAD": ("NN",),
    "BGRADB": ("NT",),
}
PRECISIONS = ("float32", "float64", "tf32", "bfloat16", "float16")
OF_STEPS = ("float32", "tf32", "bfloat16", "float16")
HABITS = {
    "relu_mask_at_zero": PRECISIONS,
    "relu_of_nan": PRECISIONS,
    "runs_repeat_bit_by_bit": OF_STEPS,
    "chosen_by": ("float32",),
}
SMALLEST = (64, 4, 1)
INPUTS, OUTPUTS = 784, 10
REPLAYS = 100
GRAPHS = (1, 4, 16, 32, 64)  # steps in a graph of the smallest network

Row = dict[str, Any]


class Case(NamedTuple):
    """One row: the method of `Probe` that finds it, and from what."""

    question: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return " ".join(map(str, (self.question, *self.arguments)))


class Probe:
    """One GPU that is asked.

    Parameters
    ----------
    backend : Backend
        Whose steps can be graphs.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.stream: GraphStream = backend.graphs()  # type: ignore[attr-defined]
        self._plain: dict[tuple[str, ...], float] = {}
        self._arrays: tuple[Any, list[Any]] = (None, [])

    def answer(self, case: Case) -> Any:
        """Find the row of a case."""
        return getattr(self, case.question)(*case.arguments)

    # -- products -------------------------------------------------------------------------------

    def products(self, precision: str, shape: str, layout: str, epilogue: str) -> Row:
        """What cuBLASLt makes of a product; the plain one of a layout is to be asked for first."""
        row: Row = {
            "precision": precision, "shape": shape, "layout": layout, "epilogue": epilogue,
            "algorithms": 0, "nodes": None, "ms": None,
            "plain_ms": self._plain.get((precision, shape, layout)),
        }  # fmt: skip
        product, _ = self._product(precision, SHAPES[shape], layout, epilogue)
        with self.stream.ordered():
            try:
                row["algorithms"] = len(self.stream._planned(product).proposals)
                planned = self.stream.plan(product)
            except NoAlgorithmError:
                return row
            row["ms"] = self.stream.milliseconds_in_graph([planned])
            row["nodes"] = self._nodes([Launch("product", planned)])
        if epilogue == "DEFAULT":
            self._plain[precision, shape, layout] = row["ms"]
        return row

    def _product(
        self, precision: str, shape: tuple[int, int, int], layout: str, epilogue: str
    ) -> tuple[Product, list[Any]]:
        """A product on random numbers, as a step has it, and the arrays it works on.

        They live until a product of another size or of other numbers is made.
        """
        master = "float64" if precision == "float64" else "float32"
        storage, compute = _numbers(precision)
        forward = epilogue.endswith("BIAS") or (epilogue.startswith("D") and epilogue != "DEFAULT")
        result = storage if forward else master
        rows, columns, inner = shape
        key = (shape, storage, result)
        if key != self._arrays[0]:
            self._arrays = (None, [])  # frees the memory first
            arrays = [
                self._random(rows * inner, storage),
                self._random(inner * columns, storage),
                self._random(rows * columns, result),
                self._random(max(rows, columns), result),
                self._random(rows * columns, result),
            ]
            self._arrays = (key, arrays)
        arrays = self._arrays[1]
        a, b, d, bias, aux = (int(array.data.ptr) for array in arrays)
        relu = "RELU" in epilogue
        keeps = relu or "GELU" in epilogue
        plain = epilogue in ("DEFAULT", "DRELU", "DGELU")
        return Product(
            rows, columns, inner, a, b, d, *LAYOUTS[layout], storage, result, compute, epilogue,
            0 if plain else bias, aux if keeps else 0,
            (-(-rows // 128) * 128 if relu else rows) if keeps else 0,
        ), arrays  # fmt: skip

    def _random(self, size: int, dtype: str) -> Any:
        """Numbers of a storage type; a ReLU mask fits into them too."""
        x = np.resize(np.random.default_rng(0).standard_normal(1 << 16, np.float32), size + 4096)
        return self.backend.asarray(_stored(x, dtype))

    def _nodes(self, launches: Sequence[Launch]) -> int | str:
        """The nodes of a graph of these launches, or what its description looks like."""
        recording = Recording(self.stream, launches, 1, None)
        dot = str(recording.graph(1).debug_dot_str())
        found = re.findall(r'^\s*"graph_\d+_node_\d+"\s*\[', dot, re.MULTILINE)
        return len(found) or dot[:1000]

    # -- habits ---------------------------------------------------------------------------------

    def habits(self, habit: str, precision: str) -> Any:
        """What the documentation leaves open."""
        return getattr(self, f"_{habit}")(precision)

    def _relu_mask_at_zero(self, precision: str) -> int | None:
        """The mask's bit for Z = 0; None where there is no such epilogue."""
        arrays = self._relu(precision, 0.0)
        if arrays is None:
            return None
        return int(self.backend.to_numpy(arrays[4]).view(np.uint8)[0] & 1)

    def _relu_of_nan(self, precision: str) -> str | None:
        """A for Z = NaN; None where there is no such epilogue."""
        arrays = self._relu(precision, float("nan"))
        if arrays is None:
            return None
        return str(_read(self.backend.to_numpy(arrays[2])[:1], _numbers(precision)[0])[0])

    def _relu(self, precision: str, bias: float) -> list[Any] | None:
        """The arrays of a product after ReLU's epilogue, with Z = bias everywhere."""
        product, arrays = self._product(precision, (8, 8, 8), "TN", "RELU_AUX_BIAS")
        for array in arrays:
            array[...] = 0
        arrays[3][...] = _stored(np.full(1, bias, np.float32), product.result)[0]
        with self.stream.ordered():
            try:
                self.stream.plan(product)()
            except NoAlgorithmError:
                return None
        return arrays

    def _runs_repeat_bit_by_bit(self, precision: str) -> bool:
        """Whether two runs of a hundred steps end with the same bits."""
        ends = []
        for _ in range(2):
            step, arrays = self._step((256, 64, 2), precision, REPLAYS)
            total = step.run(*arrays, None, np.full(REPLAYS, 1e-3))
            theta = self.backend.to_numpy(step.model.theta)
            ends.append((self.backend.to_numpy(total).tobytes(), theta.tobytes()))
        return ends[0] == ends[1]

    def _chosen_by(self, precision: str) -> dict[str, list[float | None]]:
        """Milliseconds of a small product by each algorithm, launched one by one and in a graph.

        So short a product takes less than its launch, and what is chosen by that clock is chance.
        None: proposed, but it does not run.
        """
        product, _ = self._product(precision, (64, 64, 64), "TN", "DEFAULT")
        found: dict[str, list[float | None]] = {"launched_ms": [], "in_graph_ms": []}
        clocks = (self.stream.milliseconds, self.stream.milliseconds_in_graph)
        with self.stream.ordered():
            planned = self.stream._planned(product)
            for algorithm in planned.proposals:
                planned.use(algorithm)
                for times, clock in zip(found.values(), clocks, strict=True):
                    try:
                        times.append(clock([planned]))
                    except Exception:  # the library's own
                        times.append(None)
        return found

    # -- steps ----------------------------------------------------------------------------------

    def _step(
        self, case: tuple[int, int, int], precision: str, batches: int = 1
    ) -> tuple[nnx.TrainingStep, tuple[Any, Any]]:
        """A step over m examples with `depth` hidden layers of n_h units, and batches for it."""
        m, n_h, depth = case
        dtype = "float64" if precision == "float64" else "float32"
        net = nnx.MLP(
            [INPUTS, *[n_h] * depth, OUTPUTS],
            device=self.backend,
            dtype=dtype,
            precision=None if precision == dtype else precision,
        )
        rng = np.random.default_rng(0)
        X = np.resize(rng.standard_normal(1 << 20, np.float32), (batches * m, INPUTS)).T
        Y = rng.integers(0, OUTPUTS, batches * m)
        arrays = self.backend.asarray(X, dtype), self.backend.asarray(Y)
        return nnx.TrainingStep(net, m, nnx.Adam(), compiled=True), arrays

    def steps(self, m: int, n_h: int, depth: int, precision: str) -> Row:
        """How long a network's step takes, and its plain products alone."""
        step, arrays = self._step((m, n_h, depth), precision)
        program = self._program(step, *arrays)
        many = program.recording.many
        one, most = (self._microseconds(program, n, arrays) for n in (1, many))
        alone = plain_recording(step, many)
        with self.stream.ordered():
            graph = alone.graph(many)
            products = 1000 * self.stream.milliseconds([self._launcher(graph)]) / many
        return {
            "m": m, "n_h": n_h, "depth": depth, "precision": precision,
            "launches": [launch.name for launch in program.launches],
            "steps_per_graph": many, "us_alone": one, "us": most, "us_products": products,
            "share_of_products": products / most,
        }  # fmt: skip

    def _program(self, step: nnx.TrainingStep, X: Any, Y: Any) -> GraphProgram:
        """The program of a step that gathers its batch, after one step."""
        order = self.backend.asarray(np.arange(step.m))
        step.run(X, Y, None, np.full(1, 1e-3), order=order)
        return graph_program(step)

    def _launcher(self, graph: Any) -> Callable[[], None]:
        return lambda: graph.launch(self.stream.stream)

    def _microseconds(self, program: GraphProgram, steps: int, arrays: tuple[Any, Any]) -> float:
        """Time a step in a graph of so many; the same batch again and again."""
        X, Y = arrays
        # A graph moves on through the order, so this is long enough for all launches.
        order = self.backend.zeros((MOST_LAUNCHES * steps * program.m,), "int64")
        cost = self.backend.empty((), "float64")
        with self.stream.ordered():
            program.begin(Y, None, order, None, 1e-3, 0, cost, X)
            graph = program.recording.graph(steps)
            return 1000 * self.stream.milliseconds([self._launcher(graph)]) / steps

    def smallest(self, steps: int) -> Row:
        """The smallest network, with so many steps in a graph."""
        program, arrays = self._smallest
        return {
            "steps_per_graph": steps,
            "us": self._microseconds(program, steps, arrays),
            "nodes": len(program.launches),
        }

    @cached_property
    def _smallest(self) -> tuple[GraphProgram, tuple[Any, Any]]:
        step, arrays = self._step(SMALLEST, "float32")
        return self._program(step, *arrays), arrays


def _numbers(precision: str) -> tuple[str, str]:
    """The storage and compute types of a precision, "float64" included."""
    master = "float64" if precision == "float64" else "float32"
    return numbers(None if precision == master else precision, master)


def _stored(x: Any, dtype: str) -> Any:
    """Numbers of float32 as they lie in memory in a storage type; bfloat16 is cut off."""
    if dtype == "bfloat16":
        return (x.view(np.uint32) >> 16).astype(np.uint16)
    return x.astype(HOLDERS[dtype])


def _read(x: Any, dtype: str) -> Any:
    """Numbers again, from memory."""
    return (x.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else x
