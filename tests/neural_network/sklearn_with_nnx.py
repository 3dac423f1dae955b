"""A pytest plug-in: scikit-learn's own tests of its MLP meet nnx's classes instead of its own."""

import sklearn.neural_network

import nnx.neural_network

for name in nnx.neural_network.__all__:
    setattr(sklearn.neural_network, name, getattr(nnx.neural_network, name))
