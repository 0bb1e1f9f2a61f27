r"""Canonicalise the networks of a file: `symmerge-jax canonicalize`.

python launch/canonicalize.py --weights=net.pth --out=net.safetensors \
    --architecture='{"kind": "mlp", "layer_sizes": [2, 8, 1], "activation": "relu"}'
python launch/canonicalize.py --weights=net.npz --canonicalizer=runs/digits_inr \
    --form=template --out=net.safetensors
python launch/canonicalize.py --weights=inr.ckpt --key=state_dict --out=inr.npz \
    --architecture='{"kind": "siren", "layer_sizes": [2, 32, 32, 1], "w0": 30,
    "first_w0": null, "output_offset": 0}'
"""

import sys

from symmerge_jax import cli

if __name__ == "__main__":
    arguments = [text.removeprefix("--weights=") for text in sys.argv[1:]]
    sys.exit(cli.main(["canonicalize", *arguments]))
