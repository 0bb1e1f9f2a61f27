"""Pack the canonicaliser of a finished run for the library: float16, with a card.

python launch/pack.py --workdir=runs/digits_inr --name=digits-siren-32
"""

import dataclasses
import pathlib

import jax
import numpy as np
from absl import flags

from experiments import harness
from symmerge_jax import autoencoders

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
NAME = flags.DEFINE_string("name", None, "What it will be called.", required=True)
COMMAND = flags.DEFINE_string("command", None, "How it was trained.", required=True)
LIMITS = flags.DEFINE_string("limits", None, "What it cannot do.", required=True)

MEASURES = {
    "mse": "MSE of decoded networks to the given ones, held out",
    "mse_without_scale_gmn": "the same with ScaleGMN's part frozen",
    "mse_image": "MSE of decoded networks to the images, held out",
    "orbit_spread": "largest distance of latents of twins, relative",
    "probe_latent": "accuracy of a linear probe on the latents",
    "num_train": "networks for training",
    "num_test": "networks held out",
    "num_parameters": "parameters",
}


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    workdir = pathlib.Path(WORKDIR.value)
    results = harness.read_json(workdir / "results.json")
    given = autoencoders.load_canonicalizer(workdir)
    small = jax.tree.map(lambda x: np.asarray(x, np.float16), given.variables)
    metadata = {name: results[name] for name in MEASURES}
    folder = pathlib.Path(autoencoders.__file__).parent / "pretrained" / NAME.value
    packed = dataclasses.replace(given, variables=small, metadata=metadata)
    autoencoders.save_canonicalizer(folder, packed)
    keys = jax.random.split(jax.random.key(0), 64)
    fresh = jax.vmap(given.autoencoder.network.init)(keys)
    a, b = (
        given.encode(fresh),
        autoencoders.load_canonicalizer(NAME.value).encode(fresh),
    )
    change = np.abs(a - b).max() / a.std()
    rows = [f"| {text} | {metadata[name]:.4g} |" for name, text in MEASURES.items()]
    card = [
        f"# {NAME.value}",
        f"Networks: `{dict(given.architecture)}`.",
        f"Trained by `{COMMAND.value}`; packed by `python launch/pack.py`, weights in"
        f" float16, which changes latents by {change:.1g} of their deviation at most.",
        f"Limits: {LIMITS.value}",
        "| measure | |\n| --- | ---: |\n" + "\n".join(rows),
        f"SHA-256 of the weights: `{_digest(folder)}`.",
    ]
    (folder / autoencoders.CARD).write_text("\n\n".join(card) + "\n")
    print(f"{NAME.value} is in {folder}")  # noqa: T201


def _digest(folder: pathlib.Path) -> str:
    return harness.read_json(folder / "canonicalizer.json")["weights_sha256"]


if __name__ == "__main__":
    harness.run_main(main)
