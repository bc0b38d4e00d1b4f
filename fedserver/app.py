"""The Flower ``ServerApp``: ``serverapp = "hansa.fedserver.app:app"``.

The run's settings come as the run config ``hansa``, as on a command line; what is the coordinator's own (a task file,
``run_dir``) stands in the environment variable HANSA_SITE where the ServerApp runs.
"""

from __future__ import annotations

import os
import sys
import time

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from hansa.conf import place
from hansa.conf.carry import carry_out, coordinator_key, runner
from hansa.conf.run import assemble
from hansa.conf.virtual import demand_none
from hansa.fedlink.messages import HELLO, Call, fingerprints
from hansa.fedserver.attendance import LATE
from hansa.fedserver.grid import GridFederation
from hansa.fedserver.watch import Lines

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for enough clients, carry the run out, and print its summary as the last line."""
    torch.set_num_threads(1)
    config, choices = place.settings(str(context.run_config["hansa"]), os.environ.get("HANSA_SITE", ""))
    demand_none(config)
    run = assemble(config, choices)
    job = run.job
    run_id = f"superlink-{context.run_id}"
    federation = GridFederation(
        grid=grid,
        hello=Call(
            endpoint=HELLO, run=run_id, round=0, request=0, digest=job.digest, fields=fingerprints(job.settings)
        ),
        settings=job.settings,
        clock=time.monotonic,
        sleep=time.sleep,
        refuse=lambda client, why: print(f"{client} is not let in: {why}", file=sys.stderr, flush=True),
    )

    def rest(seconds: float) -> None:
        view.say(f"the next round begins in {seconds:.0f} s")
        time.sleep(seconds)

    view = Lines(job.rounds)
    least = config.start_with or job.cohort.size or job.least()
    carrying = runner(
        run,
        config,
        federation,
        run_id=run_id,
        own=coordinator_key(config, "entropy"),
        view=view,
        clock=time.monotonic,
        gather=lambda: federation.gather(least, config.start_within),
        rest=rest,
        absent=lambda: {} if job.cohort.size else dict.fromkeys(federation.nodes, LATE),
    )
    carry_out(carrying)
