"""JAX with the work of ../simulation.py: one compiled program a client, a scan over its batches; lr and 2nn.

python -m venv jax && jax/bin/pip install jax==0.10.2 numpy
jax/bin/python jax_loop.py lr 60 12
"""

from __future__ import annotations

import itertools
import time

import jax
import jax.numpy as jnp
import mnist_work as work
import numpy as np

WIDTHS = {"lr": (784, 10), "2nn": (784, 200, 200, 10)}


def loss(layers, x, y):
    """Return the mean cross-entropy of a batch."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    log_p = jax.nn.log_softmax(x @ weight + bias)
    return -jnp.take_along_axis(log_p, y[:, None], 1).mean()


@jax.jit
def train(layers, xs, ys):
    """Take one step of SGD for each batch; return what it changed."""

    def step(now, batch):
        gradient = jax.grad(loss)(now, *batch)
        return jax.tree.map(lambda p, g: p - work.LR * g, now, gradient), None

    after, _ = jax.lax.scan(step, layers, (xs, ys))
    return jax.tree.map(jnp.subtract, after, layers)


def main() -> None:
    name, samples, rounds = work.words()
    data = [
        (jnp.asarray(x.reshape(-1, work.BATCH, 784)), jnp.asarray(y.reshape(-1, work.BATCH)))
        for x, y in work.images_and_digits(samples)
    ]
    rng, widths = np.random.default_rng(0), WIDTHS[name]
    shapes = itertools.pairwise(widths)
    layers = [(jnp.asarray(rng.normal(0, i**-0.5, (i, o)).astype(np.float32)), jnp.zeros(o)) for i, o in shapes]
    stamps = [time.perf_counter()]
    for _ in range(rounds):
        total = None
        for client in range(work.COHORT):
            delta = train(layers, *data[client])
            total = delta if total is None else jax.tree.map(jnp.add, total, delta)
        layers = jax.tree.map(lambda p, d: p + d / work.COHORT, layers, total)
        jax.block_until_ready(layers)
        stamps.append(time.perf_counter())
    work.tell("JAX jit and scan, 1 process", stamps)


if __name__ == "__main__":
    main()
