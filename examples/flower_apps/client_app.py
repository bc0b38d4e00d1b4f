"""A Flower ClientApp for a device: it moves the model to the mean of its own numbers and counts its rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Read the file that the device's owner named (node.numbers=...), and go a part of the way to its mean."""
    numbers = np.loadtxt(Path(str(context.node_config["numbers"])), ndmin=1)
    (model,) = message.content["arrays"].to_numpy_ndarrays()
    model = model + float(context.run_config["rate"]) * (numbers.mean() - model)
    rounds = int(context.state["told"]["rounds"]) if "told" in context.state else 0
    context.state["told"] = MetricRecord({"rounds": rounds + 1})
    metrics = MetricRecord({"num-examples": len(numbers), "rounds": rounds + 1})
    arrays = ArrayRecord({"w": Array(model.astype(np.float32))})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
