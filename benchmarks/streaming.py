"""Training on data that stays on the host or in a file, beside the same data on the device.

`python -m nnx.benchmarks.streaming --device cuda --out DIR` prints a table and writes
DIR/streaming.json ("nnx-streaming/1"), each case as soon as it is found. For each network and
precision it takes, in turn, epochs

- resident: the data lies on the device;
- streamed: it stays in an array of the host, and
- from a file: in a memory-mapped file;
- fed: it comes to the device as in a streamed epoch, and no step is taken.

An epoch of streamed data can be no faster than the slower of its steps and its feeding; the share
says how close it comes. On a GPU CuPy's pool is before that given less memory than the data needs,
and the record says what `fit` chose by itself, what it refused with which words, and that nothing
was kept.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

import nnx
from nnx.backends import Backend, get_backend
from nnx.batching import Batching
from nnx.benchmarks.environment import environment
from nnx.benchmarks.record import write_json
from nnx.benchmarks.settings import N_X, N_Y
from nnx.data import Opened
from nnx.errors import DataError, NnxError, OutOfMemoryError
from nnx.feed import Feed

SCHEMA = "nnx-streaming/1"
HIDDEN = (64, 512, 2048)
WAYS = ("resident", "streamed", "from a file", "fed")


@dataclass(frozen=True)
class Setting:
    """What is measured on a kind of device unless something else is asked for."""

    m: int
    batch_size: int
    precisions: tuple[str, ...]


# Batches that keep the device busy. On a GPU 0.6 GB of data, since more takes longer to draw and
# save than to train on.
CPU = Setting(50_000, 200, ("float32",))
GPU = Setting(200_000, 4096, ("float32", "tf32", "bfloat16", "float16"))
# What `fit` is asked for where memory is short.
SHORT: Mapping[str, Mapping[str, Any]] = {
    "as it comes": {},
    "batch_size='auto'": {"batch_size": "auto"},
    "batch_size='all', block_size='auto'": {"batch_size": "all", "block_size": "auto"},
    "data='device'": {"data": "device"},
    "batch_size='all'": {"batch_size": "all"},
}


@dataclass(frozen=True)
class Found:
    """Seconds of an epoch over m examples of n_x numbers, sample by sample, for each of `WAYS`."""

    n_h: int
    precision: str
    m: int
    batch_size: int
    seconds: Mapping[str, Sequence[float]]

    @property
    def share(self) -> float:
        """The slower of the steps alone and the feeding alone, over both together."""
        of = {way: median(samples) for way, samples in self.seconds.items()}
        return max(of["resident"], of["fed"]) / of["streamed"]


@dataclass(frozen=True)
class Examples:
    """Rows (m, n_x) and labels (m,); the rows in a file too."""

    rows: Any
    labels: Any
    mapped: Any

    @classmethod
    def drawn(cls, m: int, folder: Path) -> "Examples":
        """Draw examples, and save them in a folder."""
        rng = np.random.default_rng(0)
        rows, labels = rng.standard_normal((m, N_X), dtype=np.float32), rng.integers(0, N_Y, m)
        np.save(folder / "rows.npy", rows)
        return cls(rows, labels, np.load(folder / "rows.npy", mmap_mode="r"))


def measure(
    backend: Backend, n_h: int, precision: str, examples: Examples, batch_size: int, samples: int
) -> Found:
    """Take epochs each way, one after the other."""
    labels = examples.labels

    def epoch(rows: Any, data: Literal["device", "stream"]) -> float:
        net = _network(backend, n_h, precision)
        history = net.fit(rows.T, labels, epochs=2, batch_size=batch_size, data=data)
        return history["seconds"][-1]  # the first also loads and compiles

    def feed() -> float:
        return _feed(_network(backend, n_h, precision), examples.rows, labels, batch_size)

    ways: dict[str, Callable[[], float]] = {
        "resident": lambda: epoch(examples.rows, "device"),
        "streamed": lambda: epoch(examples.rows, "stream"),
        "from a file": lambda: epoch(examples.mapped, "stream"),
        "fed": feed,
    }
    for take in ways.values():
        take()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(samples):
        for way in WAYS:
            seconds[way].append(ways[way]())
    return Found(n_h, precision, len(labels), batch_size, seconds)


def _network(backend: Backend, n_h: int, precision: str) -> nnx.Network:
    wanted = None if precision == "float32" else precision
    return nnx.MLP([N_X, n_h, N_Y], device=backend, precision=wanted, seed=0)


def _feed(net: nnx.Network, rows: Any, labels: Any, batch_size: int) -> float:
    """Seconds in which an epoch's examples reach the device in a new order."""
    backend, batching = net.backend, Batching(rows.shape[0], batch_size, batch_size)
    feed = Feed(net, Opened(net, rows.T, labels).streamed(), batching, shuffle=True)
    with backend.active():
        backend.synchronize()
        start = time.perf_counter()
        for _ in feed.epoch(0):
            pass
        backend.synchronize()
        return time.perf_counter() - start


def short_of_memory(backend: Backend, pool: Any, examples: Examples) -> Iterator[tuple[str, Any]]:
    """What `fit` does where a GPU has half of what the data takes: chosen, refused, and left over.

    Yields words and what was found, one after the other.

    pool : cupy.cuda.MemoryPool
        Its limit is set, as CUPY_GPU_MEMORY_LIMIT would.
    """
    rows, labels = examples.rows, examples.labels
    before = pool.get_limit()
    backend.release()
    pool.set_limit(size=pool.used_bytes() + rows.nbytes // 2)
    try:
        used = backend.memory().used
        yield "data_bytes", rows.nbytes
        yield "free_bytes", backend.memory().free
        for words, arguments in SHORT.items():
            yield words, _attempt(backend, rows, labels, arguments)
        backend.release()
        yield "kept_bytes", backend.memory().used - used
    finally:
        pool.set_limit(size=before)


def _attempt(
    backend: Backend, rows: Any, labels: Any, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """One epoch: the sizes chosen and its cost, or the words in which it was refused."""
    net = _network(backend, HIDDEN[1], "float32")
    try:
        history = net.fit(rows.T, labels, epochs=1, **arguments)
    except OutOfMemoryError as error:
        return {"refused": str(error)}
    return {**history.chosen, "cost": history["cost"][-1], "seconds": history["seconds"][-1]}


def cases(
    device: str = "cpu",
    hidden: Sequence[int] = HIDDEN,
    precisions: Sequence[str] | None = None,
) -> list[tuple[int, str]]:
    """(n_h, precision) of each case; without `precisions`, all that the kind of device has."""
    some = precisions or (GPU if _on_gpu(device) else CPU).precisions
    return [(n_h, precision) for n_h in hidden for precision in some]


def count(
    device: str = "cpu",
    hidden: Sequence[int] = HIDDEN,
    precisions: Sequence[str] | None = None,
) -> int:
    """How many epochs of all ways a run takes, and on a GPU attempts where memory is short."""
    return len(cases(device, hidden, precisions)) + (len(SHORT) if _on_gpu(device) else 0)


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m nnx.benchmarks.streaming",
        description=(__doc__ or "").partition("\n")[0],
        epilog="example: python -m nnx.benchmarks.streaming --device cpu --hidden 64 512",
    )
    parser.add_argument("--device", default="cpu", help='"cpu" (default), "cuda", "cuda:1", ...')
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN)
    parser.add_argument("--precision", nargs="+", help="of the products; default: all there are")
    sizes = f"{CPU.m:,} on a CPU, {GPU.m:,} on a GPU"
    parser.add_argument("--m", type=int, help=f"examples in an epoch (default {sizes})")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds after which no case begins")
    parser.add_argument("--out", default="bench-out", type=Path, help="folder for streaming.json")
    options = parser.parse_args(arguments)
    try:
        return _report(options)
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"nnx: stopped; what was found so far is in {options.out}", file=sys.stderr)
        return 130


def _report(options: argparse.Namespace) -> int:
    """Measure, print and write case by case; return the exit status."""
    begun, path = time.monotonic(), options.out / "streaming.json"
    backend = get_backend(options.device)
    setting = GPU if _on_gpu(backend.device) else CPU
    m, batch_size = options.m or setting.m, options.batch_size or setting.batch_size
    if not 1 <= batch_size <= m:
        raise DataError(f"--batch-size {batch_size}: wanted 1 to m = {m}")
    record: dict[str, Any] = {"schema": SCHEMA, "environment": environment([backend.device])}
    with tempfile.TemporaryDirectory() as folder:
        examples = Examples.drawn(m, Path(folder))
        if _on_gpu(backend.device):
            record["short_of_memory"] = {}
            for words, what in short_of_memory(backend, _pool(), examples):
                record["short_of_memory"][words] = what
                print(f"{words}: {what}", flush=True)
                write_json(path, record)
        print(f"seconds of an epoch of {m:,} examples of {N_X} numbers, batches of {batch_size}")
        print(f"{'n_h':>5} {'precision':10}" + "".join(f"{way:>12}" for way in WAYS) + "   share")
        for n_h, precision in cases(backend.device, options.hidden, options.precision):
            if options.limit and time.monotonic() - begun > options.limit:
                break
            found = measure(backend, n_h, precision, examples, batch_size, options.samples)
            print(_line(found), flush=True)
            record.setdefault("results", []).append({**asdict(found), "share": found.share})
            write_json(path, record)
    print(f"record: {write_json(path, record)}")
    return 0


def _pool() -> Any:
    import cupy

    return cupy.get_default_memory_pool()


def _line(found: Found) -> str:
    of = [f"{median(found.seconds[way]):12.3f}" for way in WAYS]
    return f"{found.n_h:5d} {found.precision:10}" + "".join(of) + f"   {found.share:5.2f}"


if __name__ == "__main__":
    sys.exit(main())
