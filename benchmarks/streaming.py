"""Training on data that stays on the host or in a file, beside the same data on the device.

`python -m nnx.benchmarks.streaming --device cuda --out DIR` prints a table and writes
DIR/streaming.json ("nnx-streaming/1"). For each network and precision it takes, in turn, epochs

- resident: the data lies on the device;
- streamed: it stays in an array of the host, and
- from a file: in a memory-mapped file;
- fed: it comes to the device as in a streamed epoch, and no step is taken.

An epoch of streamed data can be no faster than the slower of its steps and its feeding; the share
says how close it comes. On a GPU CuPy's pool is then given less memory than the data needs, and the
record says what `fit` chose by itself, what it refused with which words, and that nothing was kept.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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


# Epochs of about a second, and batches that keep the device busy.
CPU = Setting(50_000, 200, ("float32",))
GPU = Setting(1_000_000, 4096, ("float32", "tf32", "bfloat16", "float16"))


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


def measure(
    backend: Backend,
    n_h: int,
    precision: str,
    m: int,
    batch_size: int,
    samples: int,
    folder: Path,
) -> Found:
    """Take epochs each way, one after the other."""
    rows, labels = _examples(m)
    np.save(folder / "rows.npy", rows)
    mapped = np.load(folder / "rows.npy", mmap_mode="r")

    def epoch(rows: Any, data: Literal["device", "stream"]) -> float:
        net = _network(backend, n_h, precision)
        history = net.fit(rows.T, labels, epochs=2, batch_size=batch_size, data=data)
        return history["seconds"][-1]  # the first also loads and compiles

    ways: dict[str, Callable[[], float]] = {
        "resident": lambda: epoch(rows, "device"),
        "streamed": lambda: epoch(rows, "stream"),
        "from a file": lambda: epoch(mapped, "stream"),
        "fed": lambda: _feed(_network(backend, n_h, precision), rows, labels, batch_size),
    }
    for take in ways.values():
        take()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(samples):
        for way in WAYS:
            seconds[way].append(ways[way]())
    return Found(n_h, precision, m, batch_size, seconds)


def _examples(m: int) -> tuple[Any, Any]:
    """Rows (m, n_x) and labels (m,)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, N_X), dtype=np.float32), rng.integers(0, N_Y, m)


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


def short_of_memory(backend: Backend, pool: Any, m: int) -> dict[str, Any]:
    """What `fit` does where a GPU has half of what the data takes: chosen, refused, and left over.

    pool : cupy.cuda.MemoryPool
        Its limit is set, as CUPY_GPU_MEMORY_LIMIT would.
    """
    rows, labels = _examples(m)
    before = pool.get_limit()
    backend.release()
    pool.set_limit(size=pool.used_bytes() + rows.nbytes // 2)
    try:
        used = backend.memory().used
        found: dict[str, Any] = {"data_bytes": rows.nbytes, "free_bytes": backend.memory().free}
        asked = {
            "as it comes": {},
            "batch_size='auto'": {"batch_size": "auto"},
            "batch_size='all', block_size='auto'": {"batch_size": "all", "block_size": "auto"},
            "data='device'": {"data": "device"},
            "batch_size='all'": {"batch_size": "all"},
        }
        for words, arguments in asked.items():
            found[words] = _attempt(backend, rows, labels, arguments)
        backend.release()
        found["kept_bytes"] = backend.memory().used - used
    finally:
        pool.set_limit(size=before)
    return found


def _attempt(backend: Backend, rows: Any, labels: Any, arguments: Any) -> dict[str, Any]:
    """One epoch: the sizes chosen and its cost, or the words in which it was refused."""
    net = _network(backend, HIDDEN[1], "float32")
    try:
        history = net.fit(rows.T, labels, epochs=1, **arguments)
    except OutOfMemoryError as error:
        return {"refused": str(error)}
    return {**history.chosen, "cost": history["cost"][-1], "seconds": history["seconds"][-1]}


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
    parser.add_argument("--m", type=int, help="examples in an epoch")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds after which no case begins")
    parser.add_argument("--out", default="bench-out", type=Path, help="folder for streaming.json")
    try:
        return _report(parser.parse_args(arguments))
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1


def _report(options: argparse.Namespace) -> int:
    backend = get_backend(options.device)
    device, on_gpu = backend.device, backend.device.startswith("cuda")
    setting = GPU if on_gpu else CPU
    m, batch_size = options.m or setting.m, options.batch_size or setting.batch_size
    if not 1 <= batch_size <= m:
        raise DataError(f"--batch-size {batch_size}: wanted 1 to m = {m}")
    begun, results = time.monotonic(), []
    record: dict[str, Any] = {"schema": SCHEMA, "environment": environment([device])}
    print(f"seconds of an epoch of {m:,} examples of {N_X} numbers, batches of {batch_size}")
    print(f"{'n_h':>5} {'precision':10}" + "".join(f"{way:>12}" for way in WAYS) + "   share")
    with tempfile.TemporaryDirectory() as folder:
        for n_h in options.hidden:
            for precision in options.precision or setting.precisions:
                if options.limit and time.monotonic() - begun > options.limit:
                    continue
                results.append(
                    measure(backend, n_h, precision, m, batch_size, options.samples, Path(folder))
                )
                print(_line(results[-1]), flush=True)
                record["results"] = [{**asdict(r), "share": r.share} for r in results]
                write_json(options.out / "streaming.json", record)
    if on_gpu:
        import cupy

        pool = cupy.get_default_memory_pool()
        record["short_of_memory"] = short_of_memory(backend, pool, m)
        for words, what in record["short_of_memory"].items():
            print(f"{words}: {what}")
    print(f"record: {write_json(options.out / 'streaming.json', record)}")
    return 0


def _line(found: Found) -> str:
    of = [f"{median(found.seconds[way]):12.3f}" for way in WAYS]
    return f"{found.n_h:5d} {found.precision:10}" + "".join(of) + f"   {found.share:5.2f}"


if __name__ == "__main__":
    sys.exit(main())
