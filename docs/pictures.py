"""Make the pictures of these pages anew, by the commands that the pages show: python docs/pictures.py"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent / "pictures"
HANSA = [sys.executable, "-c", "from hansa.conf.main import main; main()"]
MADE = {
    "partition task=digits partition=dirichlet partition.alpha=0.1 clients=20 out=who.svg": {"partition": "who.svg"},
    "simulate task=digits clients=80 rounds=40 client.epochs=5 devices=phones cohort.size=10 cohort.over=0.3 "
    "run_dir=phones": {
        "timeline": "phones/timeline.svg",
        "virtual": "phones/virtual.svg",
    },
    "simulate -m task=digits partition=shards clients=30 cohort.size=10 client.epochs=5 rounds=30 "
    "strategy=fedavg,scaffold seed=1,2,3 run_dir=study": {"sweep": "study/sweep.svg"},
}
"""Commands, and the files of theirs that become pictures."""


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for words, pictures in MADE.items():
        print(f"hansa {words}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*HANSA, *words.split()], cwd=folder, check=True, capture_output=True)
            for name, made in pictures.items():
                (HERE / f"{name}.svg").write_bytes(Path(folder, made).read_bytes())


if __name__ == "__main__":
    main()
