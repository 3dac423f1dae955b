"""The contenders: each library doing the same task in the way its own documentation shows.

Every one runs in a process of its own (`nnx.benchmarks.peers.child`) and imports only its library.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nnx.benchmarks.cell import Order
from nnx.benchmarks.peers.cases import Case

Array = Any


class Contender(ABC):
    """One library, with one case prepared.

    Parameters
    ----------
    case : Case
    """

    library: str
    devices: tuple[str, ...] = ("cpu",)

    def __init__(self, case: Case) -> None:
        if case.device not in self.devices:
            raise NotImplementedError(f"{self.library} is not compared on {case.device}")
        self.case = case
        self.X, self.Y = case.data()

    def step(self) -> object:
        """Take one step of gradient descent; may return before it is done."""
        raise NotImplementedError(f"{self.library} takes no steps here")

    def wait(self) -> None:  # noqa: B027 (most libraries are done when a call returns)
        """Wait until all steps are done."""

    def cost(self) -> float:
        """The cost of the batch, from the parameters as they are before the next step."""
        raise NotImplementedError(f"{self.library} computes no cost here")

    @abstractmethod
    def fit(self) -> float:
        """Train from new weights over all epochs; return the cost of the last one."""

    def seconds(self, repeats: int) -> float:
        """Seconds of one step, or of one fit."""
        start = time.perf_counter()
        if self.case.kind == "fit":
            for _ in range(repeats):
                self.fit()
        else:
            for _ in range(repeats):
                self.step()
            self.wait()
        return (time.perf_counter() - start) / repeats


class Nnx(Contender):
    """nnx."""

    library = "nnx"
    devices = ("cpu", "cuda")

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        import nnx

        self._nnx = nnx
        self._net = self._new_net()
        # Loads and compiles what `fit` would load once runs have been long enough.
        nnx.TrainingStep(self._net, case.m)
        if case.kind == "step":
            asarray = self._net.backend.asarray
            self._x, self._y = asarray(self.X.T), asarray(self.Y)
            optimizer = nnx.GradientDescent(case.learning_rate)
            self._step = nnx.TrainingStep(self._net, case.m, optimizer)

    def _new_net(self) -> Any:
        net = self._nnx.MLP(self.case.n, device=self.case.device, precision=self.case.precision)
        for number, (W, b) in enumerate(self.case.weights(), 1):
            net.parameters[f"W{number}"][...] = net.backend.asarray(W)
            net.parameters[f"b{number}"][...] = net.backend.asarray(b[:, None])
        return net

    def step(self) -> object:
        """One call of `TrainingStep`."""
        return self._step(self._x, self._y)

    def wait(self) -> None:
        """Synchronise the device."""
        self._net.backend.synchronize()

    def cost(self) -> float:
        """From `Network.cost`."""
        A_L, caches = self._net.forward(self._x)
        return float(self._net.cost(A_L, self._y, caches=caches))

    def fit(self) -> float:
        """`Network.fit`."""
        history = self._new_net().fit(
            self.X.T,
            self.Y,
            epochs=self.case.epochs,
            batch_size=self.case.m,
            optimizer=self._nnx.Adam(self.case.learning_rate),
        )
        return float(history["cost"][-1])


class Products(Contender):
    """The bare products of one step: through NumPy in one of two memory orders, or cuBLASLt."""

    library = "numpy"
    devices = ("cpu", "cuda")

    def __init__(self, case: Case, order: Order = "network") -> None:
        super().__init__(case)
        from nnx.backends import get_backend
        from nnx.benchmarks.products import bare_products, graph_products

        self._backend = get_backend(case.device)
        if case.device == "cpu":
            run = bare_products(self._backend, case.n, case.m, "float32", "step", order)
        else:
            run = graph_products(self._backend, case.n, case.m, case.precision)
        self.step = run  # type: ignore[method-assign]

    def wait(self) -> None:
        """Synchronise the device."""
        self._backend.synchronize()

    def fit(self) -> float:
        """Products are no fit."""
        raise NotImplementedError("the bare products train nothing")


class ScikitLearn(Contender):
    """scikit-learn's MLPClassifier."""

    library = "sklearn"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        from sklearn.neural_network import MLPClassifier

        shared = {"hidden_layer_sizes": case.n[1:-1], "alpha": 0.0, "shuffle": case.kind == "fit"}
        shared |= {"batch_size": case.m, "learning_rate_init": case.learning_rate}
        if case.kind == "fit":
            never = {"tol": 0.0, "n_iter_no_change": 10**9}
            self._make = partial(MLPClassifier, max_iter=case.epochs, **shared, **never)
            return
        self._net = MLPClassifier(solver="sgd", momentum=0.0, **shared)
        self._net.partial_fit(self.X, self.Y, classes=np.arange(case.n[-1]))
        for k, (W, b) in enumerate(case.weights()):
            self._net.coefs_[k][...], self._net.intercepts_[k][...] = W.T, b

    def step(self) -> object:
        """`partial_fit` on the batch."""
        return self._net.partial_fit(self.X, self.Y)

    def cost(self) -> float:
        """From `predict_proba`."""
        A = self._net.predict_proba(self.X)
        return float(-np.log(A[np.arange(len(self.Y)), self.Y]).mean())

    def fit(self) -> float:
        """`fit`, whose warning that it has not converged is no news."""
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(self._make().fit(self.X, self.Y).loss_)


class PyTorch(Contender):
    """PyTorch, eager or compiled."""

    library = "torch"
    devices = ("cpu", "cuda")

    def __init__(self, case: Case, compiled: bool = False) -> None:
        super().__init__(case)
        import torch

        self._torch, self._device, self._compiled = torch, case.device, compiled
        torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
        self.x, self.y = (torch.from_numpy(a).to(case.device) for a in (self.X, self.Y))
        self._loss = torch.nn.CrossEntropyLoss()
        if case.kind == "step":
            self._net = self._new_net()
            self._optimizer = torch.optim.SGD(self._net.parameters(), lr=case.learning_rate)
            self._forward = self._as_asked(self._loss_of)

    def _as_asked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self._compiled:
            return function
        compiled: Callable[..., Any] = self._torch.compile(function, mode="max-autotune")
        return compiled

    def _new_net(self) -> Any:
        nn, n = self._torch.nn, self.case.n
        layers: list[Any] = []
        for k in range(1, len(n)):
            layers += [nn.Linear(n[k - 1], n[k]), nn.ReLU()]
        with self._torch.no_grad():
            for layer, (W, b) in zip(layers[::2], self.case.weights(), strict=True):
                layer.weight.copy_(self._torch.from_numpy(W))
                layer.bias.copy_(self._torch.from_numpy(b))
        return nn.Sequential(*layers[:-1]).to(self._device)

    def _loss_of(self, x: Any, y: Any) -> Any:
        if self.case.precision in ("float32", "tf32"):
            return self._loss(self._net(x), y)
        # Mixed precision as its documentation shows it: products in 16 bits, the loss in 32.
        with self._torch.autocast(self._device, getattr(self._torch, self.case.precision)):
            return self._loss(self._net(x), y)

    def step(self) -> object:
        """Zero, forward, backward, step."""
        self._optimizer.zero_grad()
        loss = self._forward(self.x, self.y)
        loss.backward()
        self._optimizer.step()
        return loss

    def wait(self) -> None:
        """Synchronise a GPU."""
        if self._device != "cpu":
            self._torch.cuda.synchronize()

    def cost(self) -> float:
        """The loss without a gradient."""
        with self._torch.no_grad():
            return float(self._loss_of(self.x, self.y))

    def fit(self) -> float:
        """The usual loop with `torch.optim.Adam`, the data on the device as one tensor."""
        torch, case = self._torch, self.case
        self._net = self._new_net()
        forward = self._as_asked(self._loss_of)
        optimizer = torch.optim.Adam(self._net.parameters(), lr=case.learning_rate)
        total = torch.zeros((), device=self._device)
        for _ in range(case.epochs):
            total.zero_()
            order = torch.randperm(case.rows, device=self._device)
            for batch in order.split(case.m):
                optimizer.zero_grad()
                loss = forward(self.x[batch], self.y[batch])
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(batch)
        return float(total) / case.rows


class Jax(Contender):
    """JAX: one jitted function for a step, its parameters donated."""

    library = "jax"
    devices = ("cpu", "cuda")

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        import jax
        import jax.numpy as jnp

        if case.device != "cpu" and jax.default_backend() == "cpu":
            raise RuntimeError("this JAX sees no GPU")
        self._jax, self._jnp = jax, jnp
        self.x, self.y = jnp.asarray(self.X), jnp.asarray(self.Y)
        jax.config.update(
            "jax_default_matmul_precision",
            "tensorfloat32" if case.precision == "tf32" else "float32",
        )
        operands = jnp.bfloat16 if case.precision == "bfloat16" else jnp.float32

        def product(x: Any, W: Any) -> Any:
            x, W = x.astype(operands), W.astype(operands)
            return jnp.matmul(x, W, preferred_element_type=jnp.float32)

        def loss(p: Any, x: Any, y: Any) -> Any:
            for W, b in p[:-1]:
                x = jax.nn.relu(product(x, W) + b)
            scores = jax.nn.log_softmax(product(x, p[-1][0]) + p[-1][1])
            return -jnp.mean(jnp.take_along_axis(scores, y[:, None], axis=1))

        def descend(p: Any, x: Any, y: Any) -> Any:
            J, g = jax.value_and_grad(loss)(p, x, y)
            return J, jax.tree.map(lambda w, d: w - case.learning_rate * d, p, g)

        def adam(p: Any, m: Any, v: Any, t: Any, x: Any, y: Any, batch: Any) -> Any:
            J, g = jax.value_and_grad(loss)(p, x[batch], y[batch])
            tree = jax.tree.map
            m = tree(lambda m, d: 0.9 * m + 0.1 * d, m, g)
            v = tree(lambda v, d: 0.999 * v + 0.001 * d * d, v, g)
            rate = case.learning_rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            p = tree(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v)
            return J, p, m, v

        self._loss = jax.jit(loss)
        self._descend = jax.jit(descend, donate_argnums=0)
        self._adam = jax.jit(adam, donate_argnums=(0, 1, 2))
        self._p = self._start()

    def _start(self) -> Any:
        asarray = self._jnp.asarray
        return [(asarray(W.T), asarray(b)) for W, b in self.case.weights()]

    def step(self) -> object:
        """Call the jitted step."""
        J, self._p = self._descend(self._p, self.x, self.y)
        return J

    def wait(self) -> None:
        """Block until the parameters are there."""
        self._jax.block_until_ready(self._p)

    def cost(self) -> float:
        """The jitted loss."""
        return float(self._loss(self._p, self.x, self.y))

    def fit(self) -> float:
        """A jitted Adam step for each minibatch, which it picks out of the data on the device."""
        jax, jnp, case = self._jax, self._jnp, self.case
        rng = np.random.default_rng(0)
        p = self._start()
        m, v = (jax.tree.map(jnp.zeros_like, p) for _ in range(2))
        t, total = 0, 0.0
        for _ in range(case.epochs):
            costs, order = [], rng.permutation(case.rows)
            for start in range(0, case.rows, case.m):
                batch, t = order[start : start + case.m], t + 1
                J, p, m, v = self._adam(p, m, v, float(t), self.x, self.y, batch)
                costs.append((len(batch), J))
            total = sum(size * float(J) for size, J in costs) / case.rows
        return total


class Thinc(Contender):
    """Thinc's Relu and Softmax layers with its own optimizer."""

    library = "thinc"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        import thinc.api as thinc

        self._thinc = thinc
        self._loss = thinc.CategoricalCrossentropy()
        self._targets = np.eye(case.n[-1], dtype=np.float32)[self.Y]
        if case.kind == "step":
            self._net = self._new_net()
            self._optimizer = thinc.SGD(case.learning_rate, L2=0.0, grad_clip=0.0)

    def _new_net(self) -> Any:
        thinc, n = self._thinc, self.case.n
        layers = [thinc.Relu(n[k], n[k - 1]) for k in range(1, len(n) - 1)]
        net = thinc.chain(*layers, thinc.Softmax(n[-1], n[-2]))
        net.initialize(self.X[:2], self._targets[:2])
        for layer, (W, b) in zip(net.layers, self.case.weights(), strict=True):
            layer.set_param("W", W.copy())
            layer.set_param("b", b.copy())
        return net

    def _take(self, net: Any, optimizer: Any, X: Array, targets: Array) -> Array:
        A, backprop = net.begin_update(X)
        backprop(self._loss.get_grad(A, targets))
        net.finish_update(optimizer)
        return A

    def step(self) -> object:
        """begin_update, backprop, finish_update."""
        return self._take(self._net, self._optimizer, self.X, self._targets)

    def cost(self) -> float:
        """From `predict`."""
        A = self._net.predict(self.X)
        return float(-np.log(A[np.arange(len(self.Y)), self.Y]).mean())

    def fit(self) -> float:
        """Its minibatches and Adam."""
        net, case, cost = self._new_net(), self.case, 0.0
        optimizer = self._thinc.Adam(case.learning_rate, L2=0.0, grad_clip=0.0)
        for _ in range(case.epochs):
            order, cost = np.random.default_rng(0).permutation(case.rows), 0.0
            for start in range(0, case.rows, case.m):
                batch = order[start : start + case.m]
                A = self._take(net, optimizer, self.X[batch], self._targets[batch])
                cost -= float(np.log(A[np.arange(len(batch)), self.Y[batch]] + 1e-30).sum())
        return cost / case.rows


class Keras(Contender):
    """Keras, on the backend that KERAS_BACKEND names (JAX by default)."""

    library = "keras"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        import os

        os.environ.setdefault("KERAS_BACKEND", "jax")
        import keras

        self._keras = keras
        if case.kind == "step":
            self._net = self._new_net(keras.optimizers.SGD(case.learning_rate))

    def _new_net(self, optimizer: Any) -> Any:
        keras, n = self._keras, self.case.n
        layers = [keras.layers.Dense(k, activation="relu") for k in n[1:-1]]
        net = keras.Sequential([keras.Input((n[0],)), *layers, keras.layers.Dense(n[-1])])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        net.compile(optimizer=optimizer, loss=loss)
        for layer, (W, b) in zip(net.layers, self.case.weights(), strict=True):
            layer.set_weights([W.T, b])
        return net

    def step(self) -> object:
        """`train_on_batch`."""
        return self._net.train_on_batch(self.X, self.Y)

    def cost(self) -> float:
        """`test_on_batch`."""
        return float(self._net.test_on_batch(self.X, self.Y))

    def fit(self) -> float:
        """`fit`."""
        net = self._new_net(self._keras.optimizers.Adam(self.case.learning_rate))
        history = net.fit(
            self.X, self.Y, batch_size=self.case.m, epochs=self.case.epochs, verbose=0
        )
        return float(history.history["loss"][-1])


NNX, LIMITS = "nnx", ("matmul", "matmul, other order")
CONTENDERS: dict[str, Callable[[Case], Contender]] = {
    NNX: Nnx,
    LIMITS[0]: Products,
    LIMITS[1]: partial(Products, order="other"),
    "JAX": Jax,
    "PyTorch": PyTorch,
    "PyTorch compiled": partial(PyTorch, compiled=True),
    "scikit-learn": ScikitLearn,
    "Thinc": Thinc,
    "Keras": Keras,
}


def _contender(name: str) -> type[Contender]:
    make: Any = CONTENDERS[name]
    found: Any = make.func if isinstance(make, partial) else make
    return found  # type: ignore[no-any-return]


LIBRARIES = {name: _contender(name).library for name in CONTENDERS}
ON_GPU = tuple(name for name in CONTENDERS if "cuda" in _contender(name).devices)
