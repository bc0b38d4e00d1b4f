"""What the package's own tests would say: its strategy keeps Hansa's laws."""

from __future__ import annotations

from harbour_strategies import Tethered

from hansa.strategies import Bound, FedAvg, Quantise, laws

CLIPPED = Bound(clip={"delta": 1.0, "loss": 10.0}, max_examples=100)

if __name__ == "__main__":
    laws.check_strategy(Tethered())
    laws.check_strategy(Tethered(rope=0.1, pipeline=(CLIPPED, Quantise(bits=32))))
    laws.check_limit(Tethered(rope=1e6), FedAvg(), atol=1e-5)
    print("kept")
