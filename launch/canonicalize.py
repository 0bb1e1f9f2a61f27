"""Canonicalise the networks of a file.

python launch/canonicalize.py --weights=net.pth --out=net.safetensors \
    --architecture='{"kind": "siren", "layer_sizes": [2, 32, 32, 1]}'
python launch/canonicalize.py --weights=net.npz --canonicalizer=runs/digits_inr \
    --mode=template --out=net.safetensors
"""

import json

from absl import flags

from symmerge_jax import experiments
from symmerge_jax.experiments import autoencode, canonicalize

WEIGHTS = flags.DEFINE_string("weights", None, ".safetensors, .npz or .pth to read.")
OUT = flags.DEFINE_string("out", None, ".safetensors or .npz to write.")
CANONICALIZER = flags.DEFINE_string(
    "canonicalizer", None, "Workdir of a training run; the closed form without it."
)
MODE = flags.DEFINE_string(
    "mode",
    "reconstruct",
    "What to write with a --canonicalizer: 'reconstruct', the networks that it decodes,"
    " or 'template', exact twins matched to those.",
)
ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "JSON of the architecture, where the file does not say it."
)
flags.mark_flags_as_required(["weights", "out"])


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    try:
        architecture = json.loads(ARCHITECTURE.value or "null")
    except ValueError as error:
        raise flags.Error(f"--architecture is not JSON ({error}).") from error
    report = canonicalize.run(
        WEIGHTS.value or "",
        OUT.value or "",
        canonicalizer=CANONICALIZER.value,
        mode=MODE.value or "",
        architecture=architecture,
    )
    print(autoencode.table(report))  # noqa: T201


if __name__ == "__main__":
    experiments.run_main(main)
