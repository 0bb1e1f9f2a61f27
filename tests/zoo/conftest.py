"""A small folder in the format of the Small CNN Zoo."""

import csv
import gzip
import math

import numpy as np
import pytest

LAYOUT = (
    ("sequential/conv2d/bias:0", (2,)),
    ("sequential/conv2d/kernel:0", (3, 3, 1, 2)),
    ("sequential/conv2d_1/bias:0", (3,)),
    ("sequential/conv2d_1/kernel:0", (2, 2, 2, 3)),
    ("sequential/dense/bias:0", (4,)),
    ("sequential/dense/kernel:0", (3, 4)),
)
STEPS = (86, 0, 3)


def write_table(path, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class SmallCnnFolder:
    """Files as the zoo has them, in `path`; `write` writes what was changed.

    Column `c` of row `r` of the weights is `r + c / 128`, exactly. Runs are relu and
    tanh in turn; each has three rows, for the steps 86, 0 and 3.
    """

    def __init__(self, path, num_runs=20):
        self.path = path
        self.set_layout(LAYOUT)
        num_columns = self.layout[-1]["end_idx"]
        row, column = np.ogrid[: num_runs * len(STEPS), :num_columns]
        self.weights = (row + column / 128).astype(np.float32)
        self.metrics = [
            {
                "config.activation": ("relu", "tanh")[run % 2],
                "config.dataset": "cifar10",
                "config.learning_rate": 0.001 * (run + 1),
                "config.l2reg": 1e-4,
                "config.dropout": "",
                "modeldir": f"/training/{run}",
                "step": step,
                "test_accuracy": (3 * run + number) / 256,
                "test_loss": 2.0,
                "train_accuracy": 0.5,
                "train_loss": 1e39 if run == 2 else 1.0,
            }
            for run in range(num_runs)
            for number, step in enumerate(STEPS)
        ]
        self.write()

    def set_layout(self, tensors):
        stops = np.cumsum([math.prod(shape) for _, shape in tensors]).tolist()
        self.layout = [
            {
                "varname": name,
                "start_idx": stop - math.prod(shape),
                "end_idx": stop,
                "size": math.prod(shape),
                "shape": str(shape),
            }
            for (name, shape), stop in zip(tensors, stops, strict=True)
        ]

    def write(self):
        np.save(self.path / "weights.npy", self.weights)
        write_table(self.path / "metrics.csv.gz", self.metrics)
        write_table(self.path / "layout.csv", self.layout)

    def write_order(self, name, numbers):
        """Write row numbers, one per line, and return the path."""
        text = "".join(f"{number}\n" for number in numbers).encode()
        path = self.path / name
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        return path


@pytest.fixture
def small_cnn(tmp_path):
    path = tmp_path / "cifar10"
    path.mkdir()
    return SmallCnnFolder(path)
