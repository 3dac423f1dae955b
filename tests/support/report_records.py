"""Records as `nnx scale`, `nnx bench`, `nnx peers` and the teacher's law would write them."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nnx.scaling import fit_joint_law, fit_power_law

Plain = dict[str, Any]
NETWORKS = {"small": [8], "medium": [64], "large": [512, 512]}
TRADITIONAL = ("logistic regression", "support vector machine")
M = [2**k for k in range(7, 18)]
# alpha, beta, gamma of each contender's test error.
CURVES = {
    "small": (2.2, -0.42, 0.055),
    "medium": (3.0, -0.47, 0.02),
    "large": (3.6, -0.52, 0.006),
    "logistic regression": (1.6, -0.4, 0.085),
    "support vector machine": (2.4, -0.42, 0.03),
}


def environment(
    model: str = "A <Processor> & co", gpu: str = "", commit: str = "0123abcd"
) -> Plain:
    """Where it ran; names hold what HTML must escape."""
    devices: Plain = {"cpu": {"device": "cpu", "name": "x86_64"}}
    if gpu:
        devices["cuda:0"] = {"device": "cuda:0", "name": gpu}
    return {
        "date": "2026-11-24T16:28:30+00:00",
        "cpu": {"model": model, "usable_cores": 2, "caches": {"L2": "1024K"}},
        "gpus": [],
        "devices": devices,
        "blas": {"name": "openblas", "version": "0.3", "threads": 2, "kernels": "SkylakeX"},
        "libraries": {"numpy": "2.4.6"},
        "commit": {"id": commit * 5, "dirty": False},
    }


def timing(seconds: float) -> Plain:
    """Five samples around that time."""
    samples = [seconds * f for f in (0.93, 0.97, 1.0, 1.04, 1.12)]
    return {"repeats": 3, "seconds_per_call": samples, "median": seconds, "quartiles": [0, 0]}


def bench_cell(device: str, pass_: str, m: int, n_h: int, **changes: Any) -> Plain:
    """A cell of a machine with an overhead for each call and a ceiling."""
    layers, part = changes.get("layers", 1), changes.get("part", "grid")
    dtype = changes.get("dtype", "float32")
    products = {"forward": 2, "backward": 5, "step": 5}[pass_]
    flop = products * m * (784 * n_h + (layers - 1) * n_h * n_h + 10 * n_h)
    overhead, speed = (9e-6, 1.6e11) if device == "cpu" else (45e-6, 2.4e13)
    speed /= 2 if dtype == "float64" else 1
    speed *= n_h / (n_h + 30) * (1 if n_h % 8 == 0 else 0.85)
    bare = flop / speed + overhead / 3
    return {
        "part": part, "device": device, "dtype": dtype, "pass": pass_, "m": m, "n_h": n_h,
        "layers": layers, "flop": flop, "bytes_needed": 4 * m * (784 + n_h), "status": "measured",
        "timings": {
            "nnx": timing(flop / (0.85 * speed) + overhead),
            "matmul_network_order": timing(bare),
            "matmul_other_order": timing(1.1 * bare),
        },
    }  # fmt: skip


def bench_record(devices: tuple[str, ...] = ("cpu",), **where: Any) -> Plain:
    """A whole nnx-bench/2 record."""
    all_m, widths = (16, 64, 256, 1024, 4096, 16384), (16, 64, 256, 1024)
    cells = [
        bench_cell(device, pass_, m, n_h)
        for device in devices
        for pass_ in ("forward", "backward", "step")
        for n_h in widths
        for m in all_m
        if (m, n_h) != (16384, 1024)
    ]
    skipped = bench_cell("cpu", "step", 16384, 1024)
    cells.append({k: v for k, v in skipped.items() if k != "timings"})
    cells[-1] |= {"status": "skipped", "reason": "would take about 99 s <too long>"}
    for device in devices:
        cells += [bench_cell(device, "step", 1024, n, part="widths") for n in range(96, 193, 4)]
        cells += [
            bench_cell(device, "step", 1024, 256, layers=n, part="depth") for n in (1, 2, 4, 8)
        ]
        cells += [
            bench_cell(device, "step", m, 256, dtype=dtype, part="dtype")
            for m in (256, 4096)
            for dtype in ("float32", "float64")
        ]
    return {
        "schema": "nnx-bench/2",
        "settings": {
            "devices": list(devices), "m": list(all_m), "hidden": list(widths), "samples": 20,
            "optimizer": "GradientDescent", "seed": 0,
        },
        "environment": environment(gpu="A GPU" if len(devices) > 1 else "", **where),
        "cells": cells,
        **findings(devices),
        "times": {"seconds": 149.2},
    }  # fmt: skip


def findings(devices: tuple[str, ...]) -> Plain:
    """Peaks, operations, memory, loops and energy of each device."""
    names = {
        "Z[1] = W[1] X + b[1]": (1, 1), "A[1] = max(0, Z[1])": (0.001, 0.05),
        "Z[2] = W[2] A[1] + b[2]": (0.02, 0.03), "A[2], J": (0.0004, 0.06),
        "dW[2]": (0.02, 0.03), "dZ[1]": (0.02, 0.04), "dW[1]": (1, 1.1), "update": (0.01, 0.15),
    }  # fmt: skip

    def shape(device: str, m: int, n_h: int) -> Plain:
        return {"device": device, "dtype": "float32", "m": m, "n_h": n_h, "layers": 1}

    def operations(device: str, m: int, n_h: int) -> Plain:
        flop, speed = 2 * 784 * n_h * m, 1.2e11 if device == "cpu" else 2e13
        each = [
            {"name": name, "flop": round(flop * work), "bytes": round(4 * m * n_h * 2 + 4e4),
             "seconds": flop / speed * took}
            for name, (work, took) in names.items()
        ]  # fmt: skip
        each[1]["seconds"] = None
        total = math.fsum(one["seconds"] or 0 for one in each)
        more = {"optimizer": "GradientDescent", "step_seconds": 1.1 * total, "operations": each}
        return {**shape(device, m, n_h), **more}

    sizes = ((64, 64), (1024, 64), (64, 1024), (1024, 1024))
    memory = [
        {**shape(d, m, n), "formula_bytes": 4 * m * (784 + n) + 8 * 784 * n,
         "measured_bytes": round(4.3 * m * (784 + n) + 8 * 784 * n), "how": "counted by the engine"}
        for d in devices
        for n in (64, 1024)
        for m in (256, 1024, 4096)
    ]  # fmt: skip
    peaks = []
    for device in devices:
        top, width = (190.0, 28.0) if device == "cpu" else (42e3, 2.8e3)
        sheet = {
            "matmul_gflop_per_second": 67e3,
            "bandwidth_gb_per_second": 3350.0,
            "source": "sheet",
        }
        peaks.append(
            {"device": device, "dtype": "float32", "matmul_gflop_per_second": top,
             "bandwidth_gb_per_second": width,
             "samples": {"matmul_gflop_per_second": [0.97 * top, top],
                         "bandwidth_gb_per_second": [0.9 * width, width]},
             "bandwidths": [{"bytes": 2**20, "gb_per_second": 4 * width},
                            {"bytes": 2**28, "gb_per_second": width}],
             "data_sheet": None if device == "cpu" else sheet}
        )  # fmt: skip
    return {
        "peaks": peaks,
        "operations": [operations(device, *pair) for device in devices for pair in sizes],
        "memory": memory,
        "vectorized": [
            {"device": "cpu", "what": what, "n": n,
             "samples": {"loop_seconds": [loop], "vectorized_seconds": [call]}}
            for what, n, loop, call in (
                ("dot product", 1_000_000, 0.21, 4e-4),
                ("forward pass over the examples", 1000, 0.011, 7e-4),
            )
        ],
        "energy": [
            {**shape(device, 1024, 256), "joules_per_example": 3e-5, "seconds": 2.0,
             "source": "RAPL"}
            for device in devices[1:]
        ],
        "energy_reason": "no counter can be read",
        "left_out": {},
    }  # fmt: skip


def scale_record(
    seeds: int = 3, noise: float = 0.05, task: Plain | None = None, **where: Any
) -> Plain:
    """A whole nnx-scale/1 record with the laws that nnx.scaling finds in it."""
    rng = np.random.default_rng(0)
    cells = []
    for name in (*NETWORKS, *TRADITIONAL):
        alpha, beta, gamma = CURVES[name]
        hidden = NETWORKS.get(name)
        sizes = [64, *(hidden or []), 10]
        n = sum(a * b + b for a, b in pairwise(sizes))
        for m in M:
            for seed in range(seeds):
                # All alike, and scattered, where data are few.
                rough = 0.25 * (M[0] / m) ** 0.3
                error = min(
                    0.9, (alpha * m**beta + gamma) * math.exp(rng.normal(0, noise + rough / 3))
                )
                skipped = name == "support vector machine" and m > 2**15
                done: Plain = {"train_error": error / 3, "validation_error": 1.02 * error,
                               "test_error": error, "test_loss": 3 * error}  # fmt: skip
                cells.append(
                    {"contender": name, "kind": "network" if hidden else "traditional",
                     "hidden": hidden, "parameters": n, "m": m, "seed": seed,
                     "learning_rate": 0.002 if hidden else None,
                     "steps": 40 * m if hidden else None,
                     "epochs": 30 if hidden else None,
                     **(dict.fromkeys(done) if skipped else done),
                     "status": "skipped" if skipped else "done",
                     "reason": "its time grows as m^2" if skipped else ""}
                )  # fmt: skip
    done_cells = [cell for cell in cells if cell["status"] == "done"]
    laws = []
    for name in (*NETWORKS, *TRADITIONAL):
        some = [cell for cell in done_cells if cell["contender"] == name]
        law = fit_power_law([c["m"] for c in some], [c["test_error"] for c in some], bootstrap=50)
        laws.append({"contender": name, **law.to_json()})
    some = [cell for cell in done_cells if cell["kind"] == "network"]
    joint = fit_joint_law(
        *([c[k] for c in some] for k in ("m", "parameters", "test_error")), bootstrap=20
    )
    return {
        "schema": "nnx-scale/1",
        "settings": {
            "task": "digits", "task_options": {}, "m": M,
            "sizes": [{"name": name, "hidden": hidden} for name, hidden in NETWORKS.items()],
            "traditional": list(TRADITIONAL), "seeds": list(range(seeds)), "device": "cpu",
            "dtype": "float32",
        },
        "task": task or {
            "name": "digits", "title": "handwritten digits <endless>", "n_x": 64, "n_y": 10,
            "metric": "error rate", "chance": 0.9, "m_validation": 2000, "m_test": 10000,
            "note": "scikit-learn's images, shifted, turned and bent.",
        },
        "learning_rates": [
            {"contender": name, "m": 2048, "chosen": 0.002,
             "tried": [{"rate": r, "validation_error": 0.1 + r} for r in (0.0005, 0.002, 0.008)]}
            for name in NETWORKS
        ],
        "cells": cells,
        "laws": {"per_contender": laws, "joint": {**joint.to_json()}},
        "consequences": {
            "overtakes": [{"larger": "large", "smaller": "small", "m": 900,
                           "sentence": "The large network overtakes the small one at m = 900."}],
            "data_needed": [{"contender": "large", "target": 0.01, "m": 2e5, "interval": [1e5, 4e5],
                             "sentence": "1 % of error takes the large network 200,000 examples."}],
            "best_size": [{"flop": 1e12, "parameters": 3e4, "m": 6e4, "error": 0.02,
                           "sentence": "10¹² FLOP are spent best on 30,000 parameters."}],
        },
        "times": {
            "cells": [0.0 if c["status"] != "done" else 1e-4 * c["m"] + 0.02 for c in cells],
            "seconds": 300.0, "workers": 2,
        },
        "environment": environment(**where),
    }  # fmt: skip


def teacher_record(**where: Any) -> Plain:
    """A whole nnx-teacher-law/1 record."""
    rng = np.random.default_rng(1)
    cells, slopes = [], []
    for d, alpha in ((3, 1.1), (4, 0.92), (6, 0.71), (8, 0.44)):
        for n in (8, 10, 13, 17, 22, 29, 38):
            size = n * n + 23 * n + 1
            for seed in range(3):
                loss = 0.3 * (size / 250) ** -alpha * math.exp(rng.normal(0, 0.1))
                cells.append({"d": d, "n": n, "parameters": size, "teacher": 0, "seed": seed,
                              "loss": loss / 5, "relative_loss": loss})  # fmt: skip
        slopes.append({"d": d, "alpha": alpha, "interval": [0.9 * alpha, 1.12 * alpha],
                       "four_over_d": 4 / d, "four_over_alpha": 4 / alpha})  # fmt: skip
    return {
        "schema": "nnx-teacher-law/1",
        "settings": {"steps": [30000, 3000, 3000], "seeds": [0, 1, 2], "dtype": "float32"},
        "cells": cells,
        "slopes": slopes,
        "times": {"seconds": 477.0},
        "environment": environment(**where),
    }


def peers_record(**where: Any) -> Plain:
    """A whole nnx-peers/2 record, with a case in which a peer is ahead and one that failed."""
    ratios = {"nnx": 1.0, "matmul": 0.9, "JAX": 1.5, "PyTorch": 4.0, "scikit-learn": 9.0}
    comparisons = []
    for n_h in (64, 512):
        for m in (64, 1024, 8192):
            outcomes = {
                name: {"samples": [m * n_h * 1e-8 * ratio * f for f in (0.9, 1, 1.1)],
                       "costs": [2.3], "version": "1.0", "problem": ""}
                for name, ratio in ratios.items()
            }  # fmt: skip
            if (n_h, m) == (512, 1024):
                outcomes["JAX"]["samples"] = [m * n_h * 0.95e-8]
                outcomes["PyTorch"] |= {"samples": [], "problem": "it <failed>"}
            case = {"kind": "step", "n": [784, n_h, 10], "m": m, "rows": m}
            comparisons.append({"case": case, "outcomes": outcomes})
    fit = {"kind": "fit", "n": [64, 100, 10], "m": 200, "rows": 1347}
    comparisons.append({"case": fit, "outcomes": comparisons[0]["outcomes"]})
    for one in comparisons:
        rest = {"epochs": 1, "learning_rate": 0.001, "device": "cpu", "precision": "float32"}
        one["case"] = {**one["case"], **rest}
    return {
        "schema": "nnx-peers/2",
        "settings": {"samples": 3, "device": "cpu", "missing": ["Keras"]},
        "environment": environment(**where),
        "comparisons": comparisons,
    }


MAKERS: dict[str, Callable[..., Plain]] = {
    "throughput": bench_record,
    "scale": scale_record,
    "teacher-law": teacher_record,
    "peers": peers_record,
}


def write(folder: Path, name: str, plain: Plain) -> Path:
    """Write a record as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(plain))
    return path
