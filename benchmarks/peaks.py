"""What a device can do at best: measured, and what its maker says where that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnx.backends import Backend, get_backend
from nnx.backends.limits import SIZES, copy_timings, product_timings
from nnx.benchmarks.findings import Peak

# A GPU needs larger matrices and arrays than a CPU to be busy, and to leave its caches.
_SIDES = {False: 2048, True: 8192}
_GPU_SIZE = 1 << 31
_SAMPLES = 10

# Dense products of float32 and float64 (through tensor cores where cuBLAS uses them for float64),
# in TFLOP/s, and GB/s of memory. From NVIDIA's data sheets of each product. Keys are parts of names
# as the driver gives them; the first one that fits counts.
_DATA_SHEETS: Mapping[str, tuple[float, float, float]] = {
    "H200": (67.0, 67.0, 4800.0),
    "H100 PCIe": (51.0, 51.0, 2000.0),
    "H100 80GB HBM3": (67.0, 67.0, 3350.0),
    "A100-SXM4-80GB": (19.5, 19.5, 2039.0),
    "A100 80GB PCIe": (19.5, 19.5, 1935.0),
    "A100-SXM4-40GB": (19.5, 19.5, 1555.0),
    "A100-PCIE-40GB": (19.5, 19.5, 1555.0),
    "V100-SXM2": (15.7, 7.8, 900.0),
    "Tesla T4": (8.1, 0.254, 320.0),
}


def measure_peaks(device: str, dtypes: Sequence[str]) -> list[Peak]:
    """Measure the products and the memory of a device: about a second for each dtype on a CPU."""
    return [_peak(device, dtype) for dtype in dtypes]


def _peak(device: str, dtype: str) -> Peak:
    backend = get_backend(device)
    on_gpu = _on_gpu(backend)
    side = _SIDES[on_gpu]
    products = product_timings(backend, dtype, side, _SAMPLES)
    sizes = (*SIZES, _GPU_SIZE) if on_gpu else SIZES
    copies = {size: copy_timings(backend, size, _SAMPLES) for size in sizes}
    return Peak(
        backend.device,
        dtype,
        tuple(2 * side**3 / seconds / 1e9 for seconds in products),
        tuple(sizes[-1] / seconds / 1e9 for seconds in copies[sizes[-1]]),
        tuple((size, size / min(seconds) / 1e9) for size, seconds in copies.items()),
        data_sheet(backend.describe().get("name", ""), dtype),
    )


def data_sheet(name: str, dtype: str) -> dict[str, Any] | None:
    """What the maker says of a GPU with this name; None where that is not known here."""
    for part, (single, double, bandwidth) in _DATA_SHEETS.items():
        if part in name:
            return {
                "matmul_gflop_per_second": 1000 * (double if dtype == "float64" else single),
                "bandwidth_gb_per_second": bandwidth,
                "source": f"NVIDIA's data sheet for {part}",
            }
    return None


def _on_gpu(backend: Backend) -> bool:
    return "cuda" in backend.device
