"""The published PyTorch autoencoder of INRs, from a folder with its code.

Boufalis et al. 2025, arXiv 2511.12601; a clone of their repository, whose own modules
build the graphs, encode, decode, render, and take training steps. It needs what they
import: torch, torch_geometric and others.
"""

# pyright: reportMissingImports=false

import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import yaml

BATCH_SIZE = 16
"""Networks at once: where the published code is fastest on CPUs."""

_CONFIG = "configs/mnist_rec/scalegmn_autoencoder.yml"


class Published(NamedTuple):
    """What is timed, on `BATCH_SIZE` networks.

    Attributes:
      encode: returns the latents.
      train: takes a training step and returns the loss.
      version: of torch.
    """

    encode: Callable[[], Any]
    train: Callable[[], Any]
    version: str


def load(folder: str, params: Any) -> Published:
    """Build the published autoencoder, in its own configuration (D = 128).

    Args:
      folder: a clone of the published repository.
      params: SIRENs 2-32-32-1, stacked, of which the first `BATCH_SIZE` are read.

    Raises:
      FileNotFoundError: a folder without the code.
      ModuleNotFoundError: what it imports is not installed.
    """
    root = pathlib.Path(folder).expanduser().absolute()
    if not (root / _CONFIG).is_file():
        raise FileNotFoundError(
            f"--published={folder} has no {_CONFIG}: give a clone of the repository of"
            " arXiv 2511.12601."
        )
    sys.path.insert(0, str(root))
    import torch
    from src.scalegmn.autoencoder import get_autoencoder
    from src.utils.helpers import overwrite_conf
    from src.utils.loss import select_criterion
    from src.utils.optim import setup_optimization

    # What their training script does before its first step.
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    config = overwrite_conf(yaml.safe_load((root / _CONFIG).read_text()), {})
    width = config["scalegmn_args"]["d_hid"]
    sizes = config["decoder_args"]["d_hidden"]
    config["decoder_args"]["d_hidden"] = [width * factor for factor in sizes]
    config["scalegmn_args"]["layer_layout"] = config["data"]["layer_layout"]
    options, kind = config["optimization"], config["train_args"]["reconstruction_type"]
    model = get_autoencoder(model_args=config, autoencoder_type=kind)
    criterion = select_criterion(config["train_args"]["loss"], {})
    optimizer, (scheduler, _) = setup_optimization(
        [*model.parameters()],
        optimizer_name=options["optimizer_name"],
        optimizer_args=options["optimizer_args"],
        scheduler_args=options["scheduler_args"],
    )
    graphs, weights = _batch(config, params)

    def encode():
        with torch.no_grad():
            return model.encoder(graphs.clone()).numpy()

    def train():
        optimizer.zero_grad()
        loss = criterion(*_renderings(config, model(graphs.clone()), weights))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), options["clip_grad_max_norm"]
        )
        optimizer.step()
        scheduler.step()
        return loss.item()

    return Published(encode, train, torch.__version__)


def _renderings(config, decoded, weights):
    """Return what decoded networks and originals render, by their loops."""
    from src.phase_canonicalization.test_inr import test_inr
    from src.scalegmn.autoencoder import create_batch_wb

    expansion = config["train_args"]["pixel_expansion"]
    originals = test_inr(
        weights.weights,
        weights.biases,
        permuted_weights=True,
        pixel_expansion=expansion,
    )
    return test_inr(*create_batch_wb(decoded), pixel_expansion=expansion), originals


def _batch(config, params):
    """Return the networks as their loader gives them: graphs, and lists of weights."""
    import torch
    from src.data.base_datasets import BaseDataset
    from src.utils.helpers import mask_hidden, mask_input
    from torch_geometric.loader import DataLoader

    with tempfile.TemporaryDirectory() as folder:

        class Checkpoints(BaseDataset):
            def load_dataset(self, split_path):
                return range(BATCH_SIZE)

            def get_path(self, index):
                return f"{folder}/{index}.pth", None

            def get_label(self, index, state_dict, aux):
                return 0

        for index in range(BATCH_SIZE):
            network = jax.tree.map(lambda x, i=index: np.array(x[i]), params)
            state = {}
            for number, layer in enumerate(network.values()):
                state[f"seq.{number}.weight"] = torch.from_numpy(layer["kernel"].T)
                state[f"seq.{number}.bias"] = torch.from_numpy(layer["bias"])
            torch.save(state, f"{folder}/{index}.pth")
        checkpoints = Checkpoints(
            **config["data"] | {"switch_to_canon": False},
            direction=config["scalegmn_args"]["direction"],
            equiv_on_hidden=mask_hidden(config),
            get_first_layer_mask=mask_input(config),
            return_wb=True,
        )
        return next(iter(DataLoader(checkpoints, batch_size=BATCH_SIZE)))
