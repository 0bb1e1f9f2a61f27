r"""Canonicalise the networks of a file.

python launch/canonicalize.py --weights=net.pth --out=net.safetensors \
    --architecture='{"kind": "mlp", "layer_sizes": [2, 8, 1], "activation": "relu"}'
python launch/canonicalize.py --weights=net.npz --canonicalizer=runs/digits_inr \
    --form=template --out=net.safetensors
python launch/canonicalize.py --weights=inr.ckpt --key=state_dict --out=inr.npz \
    --architecture='{"kind": "siren", "layer_sizes": [2, 32, 32, 1], "w0": 30,
    "first_w0": null, "output_offset": 0}'

A description has to say what the weights do not tell and the function depends on: the
"activation" of an mlp or cnn, also "image_shape", "stride" and "readout" of a cnn;
"w0", "first_w0" and "output_offset" of a siren. Sizes are compared with the weights.
Ours are dense_0/kernel [in, out] and dense_0/bias; those of torch, fc1.weight [out, in]
and fc1.bias, are transposed, in any of the formats.
"""

from absl import flags

from experiments import harness
from experiments.commands import canonicalize

WEIGHTS = flags.DEFINE_string(
    "weights", None, "File to read: safetensors, npz or torch."
)
OUT = flags.DEFINE_string("out", None, ".safetensors or .npz to write.")
CANONICALIZER = flags.DEFINE_string(
    "canonicalizer", None, "Workdir of a training run; the closed form without it."
)
FORM = flags.DEFINE_enum(
    "form",
    None,
    canonicalize.FORMS,
    "What to write: 'closed', the closed form; 'decoded', the networks that a"
    " --canonicalizer decodes (the default with one); or 'template', exact twins"
    " matched to those.",
)
ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "JSON, or a file with it, where the weights do not say it."
)
KEY = flags.DEFINE_string(
    "key", None, "Part of the file with the weights, as state_dict or a.b."
)
flags.mark_flags_as_required(["weights", "out"])


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    report = canonicalize.run(
        WEIGHTS.value or "",
        OUT.value or "",
        canonicalizer=CANONICALIZER.value,
        form=FORM.value,
        architecture=ARCHITECTURE.value,
        key=KEY.value,
    )
    print(harness.to_text([harness.measures("", report)]))  # noqa: T201


if __name__ == "__main__":
    harness.run_main(main)
