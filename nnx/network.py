"""The network as users hold it: fit, predict, score, save, and the short forms of construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

from nnx.backends import Backend, exchange
from nnx.backends.errors import DataError
from nnx.backends.floating import as_by_default
from nnx.backends.reference.activations import Activation
from nnx.checkpoint import read, save
from nnx.data import Opened, open_validation, prepare
from nnx.evaluation import data_for, opened, outputs, score
from nnx.history import History
from nnx.inputs import check_number
from nnx.layers import Dense, Layer
from nnx.memory import attempt
from nnx.model import Model, on_its_device
from nnx.onnx_graph import network_model
from nnx.optimizers import LBFGS, Optimizer
from nnx.settling import Settler, Sizes
from nnx.summary import one_line, table
from nnx.training import CallbackLike, Options, Run

Array = Any


class Network(Model):
    """An L-layer network.

    Parameters
    ----------
    layers : sequence of Layer
        Layers 1, ..., L.
    n_x : int
        Number of inputs.
    loss : str or Loss, optional
        By default what the output activation stands for: categorical cross-entropy for softmax,
        binary cross-entropy for sigmoid, Poisson for exponential, else mean squared error.
    device : str
        "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
    dtype : {"float32", "float64"}
    precision : {None, "float32", "tf32", "bfloat16", "float16"}
        In which numbers an NVIDIA GPU computes the training steps of a float32 network; by default
        in float32. Parameters, gradients, cost and predictions stay in float32. "tf32" is a
        permission, which the CPU does not use; "bfloat16" and "float16" need a GPU and the extra
        `cuda12` or `cuda13`. With "float16" the gradient is scaled so that it keeps within range,
        and a step whose gradient does not is left out.
    seed : int
        Decides initial weights, shuffles and dropout, alike on every device.
    l2, l1 : float
        The lambdas of the penalties l2/(2m) sum of w^2 and l1/m sum of |w| on the weights.

    Raises
    ------
    NnxError
        For a setting that cannot be, before anything is allocated.

    Examples
    --------
    >>> import nnx
    >>> nnx.Network([nnx.Dense(4, "tanh"), nnx.Dense(1, "sigmoid")], n_x=2, device="cpu")
    Network(2 -> 4 tanh -> 1 sigmoid, binary_cross_entropy, float32 on cpu)
    """

    _run: Run | None = None

    def __repr__(self) -> str:
        return one_line(self)

    def summary(self) -> str:
        """Return a table of the layers: shapes, parameters, FLOPs and bytes per example."""
        return table(self)

    @on_its_device
    @as_by_default
    def fit(
        self,
        X: Any,
        Y: Any,
        *,
        epochs: int = 10,
        batch_size: int | Literal["all", "auto"] | None = None,
        block_size: int | Literal["auto"] | None = None,
        data: Literal["auto", "device", "stream"] = "auto",
        optimizer: str | Optimizer | LBFGS | None = None,
        validation: tuple[Any, Any] | float | None = None,
        callbacks: Sequence[CallbackLike] = (),
        shuffle: bool = True,
        progress: bool = False,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        resume: bool = False,
    ) -> History:
        """Train the network, from the parameters that it has.

        Parameters
        ----------
        X : array_like (n_x, m)
            One example per column; NumPy (memory-mapped files among them), CuPy, PyTorch, JAX,
            lists, ...
        Y : array_like
            Labels (m,); one-hot columns, yes/no answers or values (n_y, m).
        epochs : int
            How often each example is seen.
        batch_size : int or "all" or "auto", optional
            Examples per step; by default min(200, m). "auto" takes the largest power of two from
            64 to 4,096 that leaves an epoch 64 steps or more (m examples where there are fewer),
            and halves it until it fits the memory; `history.chosen` tells what it took.
        block_size : int or "auto", optional
            Examples that go through the network at once: the gradient of a batch is added up
            block by block, with the results of the whole batch up to rounding in the memory that
            a block takes. "auto" halves the batch until it fits.
        data : {"auto", "device", "stream"}
            "device" brings all examples to the network's device in its dtype; on the CPU an array
            that is as needed (each example contiguous) is used where it lies. "stream" leaves
            them where they are in host memory, or in a file, and brings and converts a few
            batches at a time, on a GPU while it works on those before. "auto" streams what does
            not fit. The results are the same.
        optimizer : str or Optimizer or LBFGS, optional
            By default Adam.
        validation : (X, Y) or float, optional
            Validation data, or the fraction of the examples to hold out.
        callbacks : sequence of Callback or callable (net, history) -> bool
            Called after each epoch; True stops.
        shuffle : bool
            Whether each epoch takes the examples in a new order.
        progress : bool
            Whether to show a progress bar (extra `progress`).
        sample_weight : array_like (m,), optional
            Scaled to mean one in each batch.
        class_weight : mapping class -> float, optional
            Multiplies the weights of the examples of a class.
        resume : bool
            Whether to go on with the last run: its optimizer, its state and its history (L-BFGS
            starts its curvature anew).

        Returns
        -------
        History

        Raises
        ------
        NnxError
            For data or settings that do not fit, before the first step.
        OutOfMemoryError
            Where the memory does not suffice: foreseen before the first step, or found in
            training, whose first epoch is then undone. It says what would fit.
        """
        options = Options(epochs, tuple(callbacks), shuffle, progress)
        asked = Sizes(batch_size, block_size, data)
        if resume and self._run is None:
            raise DataError("resume=True, but there is no earlier fit to go on with")
        if resume and optimizer is not None:
            raise DataError("resume=True goes on with the last optimizer; do not pass another")
        run = self._run if resume and self._run else Run(self, optimizer)
        examples, held_out = Opened(self, X, Y), open_validation(self, validation)
        weighted = sample_weight is not None or class_weight is not None
        settler = Settler(self, run, asked, examples, held_out, epochs=epochs, weighted=weighted)
        settled = settler.settle()
        earlier = self._run
        run.remember()

        def work() -> None:
            parts = prepare(self, examples, held_out, settled, sample_weight, class_weight)
            self._run = run
            run.train(*parts, options, settled)

        failed = attempt(self, work)
        if failed is not None:
            if run.restore():
                self._run = earlier
            raise settler.refusal(settled, failed)
        return run.history

    @on_its_device
    @as_by_default
    def predict_proba(self, X: Any) -> Array:
        """Return A[L] (n_y, m) for X (n_x, m): probabilities, or values for regression.

        The result is the kind of array that X is, on the device of X.
        """
        return exchange.like(outputs(self, opened(self, X)), X)

    @on_its_device
    @as_by_default
    def predict(self, X: Any) -> Array:
        """Return the class of each example, or the values.

        X (n_x, m) -> class indices (m,); for several yes/no answers 0 or 1, (n_y, m); for
        regression values (n_y, m). The result is the kind of array that X is.
        """
        return exchange.like(outputs(self, opened(self, X), labels=True), X)

    @on_its_device
    @as_by_default
    def score(self, X: Any, Y: Any) -> float:
        """Return the accuracy, or R^2 for regression, for X (n_x, m) and Y as `fit` takes it."""
        return score(self, data_for(self, X, Y))

    def copy(
        self,
        *,
        device: str | Backend | None = None,
        dtype: str | None = None,
        precision: str | None = "same",
    ) -> Self:
        """Return an equal network with parameters of its own.

        Parameters
        ----------
        device : str, optional
        dtype : str, optional
            Another dtype resets the precision.
        precision : str or None, optional
            By default that of this network, also on a device that cannot train with it: there it
            predicts, and training is an error.
        """
        new = super().copy(device=device, dtype=dtype, precision=precision)
        new._run = None
        return new

    def to(self, device: str | Backend) -> Self:
        """Return the network on `device`: itself where it is there already, else a copy."""
        copied = self.copy(device=device)
        return self if copied.backend is self.backend else copied

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a safetensors file, whole or not at all; `nnx.load` reads it.

        The optimizer's state is not kept.
        """
        save(self, path)

    def to_onnx(self, path: str | PathLike[str] | None = None) -> Any:
        """Return the network as an ONNX model, and write it to `path` if one is given.

        There rows are examples: input "X" (m, n_x), output "A" = A[L] transposed, (m, n_y). Needs
        the extra `onnx`.

        Raises
        ------
        DataError
            For a layer or an activation of one's own.
        """
        return network_model(self, path)


def load(
    path: str | PathLike[str],
    *,
    device: str | Backend = "auto",
    custom: Sequence[Any] = (),
) -> Network:
    """Read a network that `Network.save` wrote. Nothing is unpickled.

    Parameters
    ----------
    path : path
    device : str
    custom : sequence
        The activations, losses (objects with a `name`), initialisers (functions) and layer
        classes of one's own that the network uses.

    Raises
    ------
    CheckpointError
        Where the file is no such network, or names something that `custom` lacks.
    """
    settings, parameters = read(path, custom)
    precision = settings.pop("precision")
    net = Network(**settings, device=device)
    net.precision = precision  # a device that cannot train with it can predict
    for name, view in net.parameters.items():
        view[...] = net.backend.asarray(parameters[name], net.dtype)
    return net


def MLP(
    n: Sequence[int],
    hidden: str | Activation | Sequence[str | Activation] = "relu",
    output: str | Activation = "softmax",
    *,
    keep_prob: float = 1.0,
    initialiser: str | Callable[..., Any] | None = None,
    **network: Any,
) -> Network:
    """Return a network of dense layers of n = [n_x, n[1], ..., n_y] units.

    Parameters
    ----------
    n : sequence of int
    hidden : str or Activation, or one for each hidden layer
    output : str or Activation
    keep_prob : float
        Of the hidden layers' dropout.
    initialiser : str or callable, optional
    **network
        As for `Network`: loss, device, dtype, precision, seed, l2, l1.

    Examples
    --------
    >>> MLP([784, 128, 10], device="cpu")
    Network(784 -> 128 relu -> 10 softmax, categorical_cross_entropy, float32 on cpu)
    """
    if len(n) < 2:
        raise DataError(f"n must be [n_x, ..., n_y], two numbers or more; got {list(n)!r}")
    for number, units in enumerate(n):
        check_number(f"n[{number}]", units, 1, whole=True)
    inner = list(n[1:-1])
    each = [hidden] * len(inner) if isinstance(hidden, str | Activation) else list(hidden)
    if len(each) != len(inner):
        raise DataError(f"hidden has {len(each)} activations for {len(inner)} hidden layers")
    layers: list[Layer] = [
        Dense(units, g, keep_prob, initialiser) for units, g in zip(inner, each, strict=True)
    ]
    return Network([*layers, Dense(n[-1], output, 1.0, initialiser)], n_x=n[0], **network)


def LogisticRegression(n_x: int, n_y: int = 1, **network: Any) -> Network:
    """Return the network with L = 1: one sigmoid unit, or softmax for n_y > 1; it starts at zero.

    Examples
    --------
    >>> LogisticRegression(12288, device="cpu")
    Network(12288 -> 1 sigmoid, binary_cross_entropy, float32 on cpu)
    """
    output = "sigmoid" if n_y == 1 else "softmax"
    return Network([Dense(n_y, output, 1.0, "zeros")], n_x=n_x, **network)
