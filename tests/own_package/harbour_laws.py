"""What the package's own tests would say: its strategy keeps Hansa's laws."""

from __future__ import annotations

from harbour_strategies import Momentum

from hansa.strategies import Bound, FedAvg, Quantise, laws

CLIPPED = Bound(clip={"delta": 1.0, "loss": 10.0}, max_examples=100)

if __name__ == "__main__":
    laws.check_strategy(Momentum())
    laws.check_strategy(Momentum(beta=0.5, pipeline=(CLIPPED, Quantise(bits=32))))
    laws.check_limit(Momentum(beta=0.0), FedAvg(), atol=1e-5)
    print("kept")
