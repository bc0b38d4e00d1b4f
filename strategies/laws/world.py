"""A toy world: clients whose losses are parabolas, so that everything about them is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.spec import Channel, Cohort
from hansa.strategies.strategy import Problem
from hansa.strategies.types import Array, Slices
from hansa.strategies.work import PLAIN, Plan, Trained


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    """A `Trainer` of N clients c00, c01, ...: client i has n_i examples and the loss a_i / 2 |x - t_i|^2.

    ``pull_N``, ``target_NP`` and ``examples_N`` hold a, t and n. Training takes ``steps`` steps of size ``rate`` along
    gradients with Gaussian ``noise``. ``personal`` counts private parameters, which seek t_i's first entries.
    Strategies are told that no gradient moves the model's ``buffers``.
    """

    METRICS: ClassVar[tuple[Channel, ...]] = (Channel(name="loss"), Channel(name="examples", nonnegative=True))
    """The channels of ``evaluate``: the sum of the examples' losses, and the number of examples."""

    pull_N: Array
    target_NP: Array
    examples_N: Array
    steps: int = 4
    rate: float = 0.1
    noise: float = 0.01
    personal: int = 0
    buffers: Slices = ()

    @classmethod
    def of(cls, *, clients: int = 8, parameters: int = 5, seed: int = 0, **settings: float) -> Quadratic:
        """Draw a world whose even and odd clients want opposite things.

        >>> Quadratic.of(clients=3).names
        ('c00', 'c01', 'c02')
        """
        rng = np.random.default_rng(seed)
        sides_N1 = np.where(np.arange(clients) % 2, -3.0, 3.0)[:, None]
        return cls(
            pull_N=rng.uniform(0.2, 3, clients).astype(np.float32),
            target_NP=(sides_N1 + rng.normal(size=(clients, parameters))).astype(np.float32),
            examples_N=rng.integers(1, 100, clients),
            **settings,  # type: ignore[arg-type]
        )

    @property
    def names(self) -> Names:
        """The clients' names, sorted."""
        return tuple(f"c{i:02d}" for i in range(len(self.pull_N)))

    @property
    def parameters(self) -> int:
        """P, the number of shared parameters."""
        return int(self.target_NP.shape[1])

    def problem(self, cohort: Cohort) -> Problem:
        """Return what a strategy's endpoints are built from."""
        return Problem(
            parameters=self.parameters, cohort=cohort, private=self.personal, metrics=self.METRICS, buffers=self.buffers
        )

    def optimum(self, weight_N: Array | None = None) -> Array:
        """Return where the sum of the clients' losses, weighted or not, is least: shape (P,), float64."""
        pull_N1 = (self.pull_N * (1.0 if weight_N is None else weight_N))[:, None].astype(np.float64)
        return np.asarray((pull_N1 * self.target_NP).sum(axis=0) / pull_N1.sum())

    def private(self, names: Names) -> Array:
        return np.zeros((len(names), self.personal), np.float32)

    def train(self, model: Array, private_BQ: Array, names: Names, ctx: Context, plan: Plan = PLAIN) -> Trained:
        pull_B1, target_BP = self._data(names)
        steps, rate = plan.steps or self.steps * (plan.epochs or 1), self.rate * plan.rate
        start_BP = np.broadcast_to(model, target_BP.shape)
        shared, private = plan.only in ("", "shared"), plan.only in ("", "private")
        private_BQ = private_BQ + private * rate * pull_B1 * (target_BP[:, : self.personal] - private_BQ)
        x_BP = self._trained(start_BP, names, ctx, plan, steps, rate) if shared else start_BP
        return Trained(
            delta_BP=x_BP - start_BP,
            private_BQ=private_BQ,
            examples_B=self.examples_N[self._rows(names)],
            loss_B=self._loss(x_BP, names),
            travel_B=np.full(len(names), shared * steps * rate),
        )

    def _trained(self, x_BP: Array, names: Names, ctx: Context, plan: Plan, steps: int, rate: float) -> Array:
        pull_B1, target_BP = self._data(names)
        noise_BSP = self.noise * np.stack([self._noise(name, ctx, steps, plan.purpose("noise")) for name in names])
        anchor = x_BP if plan.anchor is None else plan.anchor
        push = 0.0 if plan.correction is None else plan.correction
        for step in range(steps):
            gradient_BP = pull_B1 * (x_BP - target_BP) + noise_BSP[:, step] + push + plan.proximal * (x_BP - anchor)
            if plan.previous is not None:
                gradient_BP = gradient_BP + plan.contrast * _contrast(x_BP, anchor, plan.previous, plan.temperature)
            x_BP = x_BP - rate * gradient_BP
        return x_BP

    def evaluate(self, model: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        """Return METRICS, with the private parameters in the place of the model's first."""
        x_BP = np.broadcast_to(model, (len(names), self.parameters)).copy()
        x_BP[:, : self.personal] = private_BQ
        examples_B = self.examples_N[self._rows(names)]
        return {"loss": examples_B * self._loss(x_BP, names), "examples": examples_B}

    def losses(self, model: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        """Return METRICS of the shared parameters alone, which are those that training moves by the loss."""
        examples_B = self.examples_N[self._rows(names)]
        loss_B = self._loss(np.broadcast_to(model, (len(names), self.parameters)), names)
        return {"loss": examples_B * loss_B, "examples": examples_B}

    def query(self, query: str, names: Names) -> dict[str, Array]:
        """Return ``targets`` of shape (B, P), the sum of the examples' targets, and ``examples``, whatever is asked."""
        examples_B = self.examples_N[self._rows(names)]
        return {"targets": examples_B[:, None] * self._data(names)[1], "examples": examples_B}

    def _rows(self, names: Names) -> list[int]:
        return [self.names.index(name) for name in names]

    def _data(self, names: Names) -> tuple[Array, Array]:
        return self.pull_N[self._rows(names), None], self.target_NP[self._rows(names)]

    def _noise(self, name: str, ctx: Context, steps: int, purpose: str = "noise") -> Array:
        """Gradient noise of a client, shape (steps, P): keyed by its name, so that no batching or order moves it."""
        return ctx.learning(name, purpose).standard_normal((steps, self.parameters)).astype(np.float32)

    def _loss(self, x_BP: Array, names: Names) -> Array:
        pull_B1, target_BP = self._data(names)
        return np.asarray(np.sum(pull_B1 / 2 * (x_BP - target_BP) ** 2, axis=1))


def _contrast(x_BP: Array, near_BP: Array, far_BP: Array, temperature: float) -> Array:
    """Return the gradient of MOON's term, where the representation of an example is the model itself."""
    (near_B1, up_BP), (far_B1, down_BP) = _cosine(x_BP, near_BP), _cosine(x_BP, far_BP)
    share_B1 = 1 / (1 + np.exp((near_B1 - far_B1) / temperature))
    return np.asarray(share_B1 / temperature * (down_BP - up_BP), np.float32)


def _cosine(x_BP: Array, a_BP: Array) -> tuple[Array, Array]:
    """Return cos(x, a), (B, 1), and its gradient by x; both 0 where either has no length."""
    x_B1, a_B1 = (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12 for v in (x_BP, np.broadcast_to(a_BP, x_BP.shape)))
    cosine_B1 = (x_BP * a_BP).sum(axis=-1, keepdims=True) / (x_B1 * a_B1)
    return cosine_B1, (a_BP / a_B1 - cosine_B1 * x_BP / x_B1) / x_B1 * (x_B1 > 1e-6)
