r"""Merge the networks of two or more weight files into one: `symmerge-jax merge`.

python launch/merge.py a.safetensors b.safetensors --out=merged.safetensors
python launch/merge.py a.npz b.npz c.npz --out=merged.npz --aligned_dir=aligned \
    --architecture='{"kind": "mlp", "layer_sizes": [2, 8, 1], "activation": "relu"}'
python launch/merge.py a.pth b.pth --out=merged.npz --architecture=mlp.json --data=mnist
python launch/merge.py a.npz b.npz --out=merged.npz --data=mnist --repair=least_squares
"""

import sys

from symmerge_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["merge", *sys.argv[1:]]))
