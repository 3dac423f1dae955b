"""What only a GPU can tell about the fast floor of a training step, written down as JSON.

`python -m nnx.benchmarks.probe --device cuda --out DIR` prints what it finds and writes
DIR/probe.json ("nnx-probe/1"):

- products: for each dtype, epilogue and layout how many algorithms cuBLASLt proposes, the nodes
  that the product becomes in a graph (more than one: it is not really fused), its time, and that of
  a plain product;
- habits: what epilogues do with zeros and NaN, and whether a run repeats itself bit by bit;
- steps: for networks small and large and each precision the launches chosen, microseconds per step
  with 1 and with many steps in a graph, and of its plain products alone;
- smallest: a step of the smallest network, by how many of them a graph holds.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import nnx
from nnx.backends import Backend, get_backend
from nnx.backends.cuda.graph import MOST_LAUNCHES, GraphStream, Launch, Recording
from nnx.backends.cuda.products import NoAlgorithmError, Planned, Product
from nnx.backends.cuda.step_kernels import HOLDERS
from nnx.benchmarks.environment import environment
from nnx.benchmarks.record import write_json
from nnx.errors import DataError, NnxError
from nnx.graph_program import GraphProgram
from nnx.precision import numbers

SCHEMA = "nnx-probe/1"
# (rows, columns, inner) of a product, by size: a hidden layer, an output of 10 and of 1 unit.
SHAPES = {"hidden": (512, 4096, 784), "10 outputs": (16, 4096, 512), "1 output": (8, 4096, 512)}
LAYOUTS = {"TN": (True, False), "NN": (False, False), "NT": (False, True)}
EPILOGUES = {  # which layouts a training step uses them in
    "BIAS": ("TN",),
    "RELU_AUX_BIAS": ("TN",),
    "GELU_AUX_BIAS": ("TN",),
    "DRELU": ("NN",),
    "DRELU_BGRAD": ("NN",),
    "DGELU": ("NN",),
    "DGELU_BGRAD": ("NN",),
    "BGRADB": ("NT",),
}
PRECISIONS = ("float64", "float32", "tf32", "bfloat16", "float16")
STEPS = tuple((m, n_h, 1) for m in (64, 256, 4096, 65536) for n_h in (64, 512, 2048)) + (
    (256, 512, 4),
    (4096, 8192, 1),
    (4096, 2048, 4),
)
SMALLEST = (64, 4, 1)
INPUTS, OUTPUTS = 784, 10
REPLAYS = 100
GRAPHS = (1, 4, 16, 32, 64)  # steps in a graph of the smallest network


class Probe:
    """The questions, put to one GPU."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.stream: GraphStream = backend.graphs()  # type: ignore[attr-defined]

    # -- products -------------------------------------------------------------------------------

    def products(self, shapes: Sequence[str] = tuple(SHAPES)) -> list[dict[str, Any]]:
        """One row for each precision, shape, epilogue and layout."""
        rows = []
        for precision in PRECISIONS:
            for shape in shapes:
                for layout in LAYOUTS:
                    plain = self._row(precision, shape, layout, "DEFAULT", None)
                    rows.append(plain)
                    rows += [
                        self._row(precision, shape, layout, epilogue, plain["ms"])
                        for epilogue, layouts in EPILOGUES.items()
                        if layout in layouts
                    ]
        return rows

    def _row(
        self, precision: str, shape: str, layout: str, epilogue: str, plain: float | None
    ) -> dict[str, Any]:
        row: dict[str, Any] = {
            "precision": precision, "shape": shape, "layout": layout, "epilogue": epilogue,
            "algorithms": 0, "nodes": None, "ms": None, "plain_ms": plain,
        }  # fmt: skip
        product, keep = self._product(precision, SHAPES[shape], layout, epilogue)
        with self.stream.ordered():
            try:
                planned = self.stream.plan(product)
            except NoAlgorithmError:
                return row
            row["algorithms"] = planned.algorithms
            row["ms"] = self.stream.milliseconds([planned])
            row["nodes"] = self._nodes([Launch("product", planned)])
        del keep
        return row

    def _product(
        self, precision: str, shape: tuple[int, int, int], layout: str, epilogue: str
    ) -> tuple[Product, list[Any]]:
        """A product on random numbers, as a step has it, and the arrays it works on."""
        master = "float64" if precision == "float64" else "float32"
        storage, compute = numbers(None if precision == master else precision, master)
        forward = epilogue.endswith("BIAS") or (epilogue.startswith("D") and epilogue != "DEFAULT")
        result = storage if forward else master
        rows, columns, inner = shape
        arrays = [
            self._random(rows * inner, storage),
            self._random(inner * columns, storage),
            self._random(rows * columns, result),
            self._random(max(rows, columns), result),
            self._random(rows * columns, result),
        ]
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
        x = np.random.default_rng(0).standard_normal(size + 4096).astype(np.float32)
        if dtype == "bfloat16":
            return self.backend.asarray((x.view(np.uint32) >> 16).astype(np.uint16))
        return self.backend.asarray(x.astype(HOLDERS[dtype]))

    def _nodes(self, launches: Sequence[Launch]) -> int | str:
        """The nodes of a graph of these launches, or what its description looks like."""
        recording = Recording(self.stream, launches, 1, None)
        dot = str(recording.graph(1).debug_dot_str())
        found = re.findall(r'^\s*"graph_\d+_node_\d+"\s*\[', dot, re.MULTILINE)
        return len(found) or dot[:1000]

    # -- habits ---------------------------------------------------------------------------------

    def habits(self) -> dict[str, Any]:
        """What the documentation leaves open."""
        repeats = {precision: self._repeats(precision) for precision in PRECISIONS[1:]}
        return {
            "relu_mask_at_zero": self._relu(0.0)[1],
            "relu_of_nan": self._relu(float("nan"))[0],
            "runs_repeat_bit_by_bit": repeats,
        }

    def _relu(self, bias: float) -> tuple[str, int]:
        """A and the mask's first bit for Z = bias."""
        product, arrays = self._product("float32", (8, 8, 8), "TN", "RELU_AUX_BIAS")
        for array in arrays:
            array[...] = 0
        arrays[3][...] = bias
        with self.stream.ordered():
            try:
                self.stream.plan(product)()
            except NoAlgorithmError:
                return "no algorithm", -1
        A, mask = (self.backend.to_numpy(arrays[k]) for k in (2, 4))
        return str(A[0]), int(mask.view(np.uint8)[0] & 1)

    def _repeats(self, precision: str) -> bool:
        """Whether two runs of a hundred steps end with the same bits."""
        ends = []
        for _ in range(2):
            step, arrays = self._step((256, 64, 2), precision, REPLAYS)
            total = step.run(*arrays, None, np.full(REPLAYS, 1e-3))
            theta = self.backend.to_numpy(step.model.theta)
            ends.append((self.backend.to_numpy(total).tobytes(), theta.tobytes()))
        return ends[0] == ends[1]

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
        X = rng.standard_normal((batches * m, INPUTS), dtype=np.float32).T
        Y = rng.integers(0, OUTPUTS, batches * m)
        arrays = self.backend.asarray(X, dtype), self.backend.asarray(Y)
        return nnx.TrainingStep(net, m, nnx.Adam(), compiled=True), arrays

    def steps(self, cases: Sequence[tuple[int, int, int]] = STEPS) -> list[dict[str, Any]]:
        """One row for each network and precision."""
        return [self._timed(case, p) for case in cases for p in PRECISIONS[1:]]

    def _timed(self, case: tuple[int, int, int], precision: str) -> dict[str, Any]:
        step, arrays = self._step(case, precision)
        program = self._program(step, *arrays)
        many = program.recording.many
        one, most = (self._microseconds(program, n, arrays) for n in (1, many))
        with self.stream.ordered():
            alone = Recording(self.stream, self._plain(program), many, program)
            graph = alone.graph(many)
            products = 1000 * self.stream.milliseconds([self._launcher(graph)]) / many
        m, n_h, depth = case
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
        assert step._graphs is not None
        (program,) = step._graphs._programs.values()
        return program

    def _plain(self, program: GraphProgram) -> list[Launch]:
        """The step's products without epilogues, each with its own fastest algorithm."""
        launches = []
        for launch in program.launches:
            if isinstance(launch.run, Planned):
                plain = replace(launch.run.product, epilogue="DEFAULT", bias=0, aux=0, aux_ld=0)
                launches.append(Launch("product", self.stream.plan(plain)))
        return launches

    def _launcher(self, graph: Any) -> Callable[[], None]:
        return lambda: graph.launch(self.stream.stream)

    def _microseconds(self, program: GraphProgram, steps: int, arrays: tuple[Any, Any]) -> float:
        """Time a step in a graph of so many; the same batch again and again."""
        X, Y = arrays
        # A graph moves on through the order, so this is long enough for all launches.
        order = self.backend.asarray(np.zeros(MOST_LAUNCHES * steps * program.m, np.int64))
        cost = self.backend.empty((), "float64")
        with self.stream.ordered():
            program.begin(Y, None, order, None, 1e-3, 0, cost, X)
            graph = program.recording.graph(steps)
            return 1000 * self.stream.milliseconds([self._launcher(graph)]) / steps

    def smallest(self) -> list[dict[str, Any]]:
        """The smallest network, by how many steps a graph holds."""
        step, arrays = self._step(SMALLEST, "float32")
        program = self._program(step, *arrays)
        return [
            {
                "steps_per_graph": many,
                "us": self._microseconds(program, many, arrays),
                "nodes": len(program.launches),
            }
            for many in GRAPHS
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the probe from the command line; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m nnx.benchmarks.probe",
        description="Ask a GPU what the fast floor of a training step depends on.",
        epilog="example: python -m nnx.benchmarks.probe --device cuda --out bench-out",
    )
    parser.add_argument("--device", default="cuda", help='the GPU to ask (default "cuda")')
    parser.add_argument("--out", default="bench-out", type=Path, help="folder for probe.json")
    options = parser.parse_args(arguments)
    try:
        return _report(get_backend(options.device), options.out)
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1


def _report(backend: Backend, out: Path) -> int:
    """Ask everything, write after each answer, print a summary; return the exit status.

    An answer that fails is written down as such, and the others are still asked for.
    """
    reason = backend.why_no_graphs()
    if reason is not None:
        raise DataError(f"there is no fast floor to ask about: {reason}")
    with backend.active():
        probe = Probe(backend)
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "environment": environment([backend.device]),
            "failed": {},
        }
        for name in ("habits", "smallest", "products", "steps"):
            try:
                record[name] = getattr(probe, name)()
            except Exception as error:
                record["failed"][name] = f"{type(error).__name__}: {error}"
            path = write_json(out / "probe.json", record)
            print(_summary(name, record), flush=True)
    print(f"record: {path}")
    return 1 if record["failed"] else 0


def _summary(name: str, record: dict[str, Any]) -> str:
    """What was found, in a few lines."""
    if name in record["failed"]:
        return f"{name}: failed: {record['failed'][name]}"
    rows = record[name]
    if name == "habits":
        return "\n".join(f"{key}: {value}" for key, value in rows.items())
    if name == "smallest":
        return "\n".join(f"{row['steps_per_graph']:4} steps: {row['us']:8.1f} us" for row in rows)
    if name == "products":
        missing = [row for row in rows if not row["algorithms"]]
        lines = [f"{len(rows) - len(missing)} of {len(rows)} products have algorithms; without:"]
        fields = ("precision", "epilogue", "layout", "shape")
        return "\n".join([*lines, *(" ".join(row[f] for f in fields) for row in missing)])
    return "\n".join(
        f"m {row['m']:6} n_h {row['n_h']:5} x {row['depth']} {row['precision']:9}"
        f"{row['us']:10.1f} us, products alone {row['us_products']:10.1f}"
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
