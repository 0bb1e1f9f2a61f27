"""The command line: three commands of a newcomer, and one line for each mistake."""

import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

import symmerge_jax
from symmerge_jax import cli, networks, storage, symmetry, testing

MLP = {"kind": "mlp", "layer_sizes": [4, 6, 3], "activation": "tanh"}

NET = """
import flax.linen as nn
import jax
import jax.numpy as jnp
import symmerge_jax


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(2)(x)


def model():
    net, x = Net(), jnp.ones((4, 3))
    return net.apply, jax.eval_shape(net.init, jax.random.key(0), x), x


def traced():
    return symmerge_jax.trace(*model())


def listed():
    def apply(params, x):
        return net.apply({"params": {"Dense_0": params[0], "Dense_1": params[1]}}, x)

    net, x = Net(), jnp.ones((4, 3))
    params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    params = [params["Dense_0"], params["Dense_1"]]
    return symmerge_jax.trace(apply, params, x), params


def nothing():
    return 3
"""


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(2)(x)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a model and two checkpoints of it, by flax itself."""
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "net", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for seed, name in enumerate("ab"):
        variables = Net().init(jax.random.key(seed), jnp.ones((4, 3)))
        tree = {**variables, "step": 7, "ema": {"decay": np.array([seed, 2**40])}}
        (tmp_path / f"{name}.ckpt").write_bytes(serialization.msgpack_serialize(tree))
    return tmp_path


def run(capsys, *arguments):
    """Return the code and the output of a command, in this process."""
    code = cli.main([*map(str, arguments)])
    return code, capsys.readouterr()


def values_of(text):
    values = text.partition("\n\n")[0]
    return dict(line.split(maxsplit=1) for line in values.splitlines())


NEWCOMER = """
import os, signal, sys
import numpy as np
from symmerge_jax import cli, storage
def dying():
    yield "params/Dense_0/bias", np.zeros(5, np.float32)
    os.kill(os.getpid(), signal.SIGKILL)
if os.fork() == 0:
    storage.write_checkpoint("killed.ckpt", storage.open_checkpoint("a.ckpt"), dying())
print("killed by", os.WTERMSIG(os.wait()[1]), flush=True)
for line in open("commands"):
    print("code", cli.main(line.split()[1:]), flush=True)
"""


@pytest.mark.slow
def test_a_newcomer_merges_two_checkpoints_in_three_commands(folder):
    (folder / "commands").write_text(
        "symmerge-jax inspect a.ckpt b.ckpt\n"
        "symmerge-jax trace a.ckpt --model=net:model --out=spec.json\n"
        "symmerge-jax merge a.ckpt b.ckpt --model=net:model --out=m.ckpt --report=r.md"
    )
    before = {path.name for path in folder.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", NEWCOMER],
        env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.count("code 0") == 3, done.stdout + done.stderr
    assert "killed by 9" in done.stdout and not (folder / "killed.ckpt").exists()
    assert "Dense_0: 5 permutations and positive scales" in done.stdout
    assert "params/Dense_0/kernel  float32  [3, 5]" in done.stdout
    left = {x.name for x in folder.iterdir() if x.suffix != ".part"} - before
    assert left - {"__pycache__"} == {"spec.json", "m.ckpt", "r.md"}
    assert "| certificate |" in (folder / "r.md").read_text()
    a, b, merged = (
        serialization.msgpack_restore((folder / f"{name}.ckpt").read_bytes())
        for name in "abm"
    )
    assert jax.tree.structure(merged) == jax.tree.structure(a)
    assert merged["step"] == 7 and merged["ema"]["decay"].tolist() == [0, 2**40]
    network = symmerge_jax.trace(Net().apply, {"params": a["params"]}, jnp.ones((4, 3)))
    given = [{"params": tree["params"]} for tree in (a, b)]
    expected = symmerge_jax.merge(given, network).params
    jax.tree.map(np.testing.assert_array_equal, merged["params"], expected["params"])


def test_align_certify_and_canonicalize_keep_the_function(folder, capsys):
    model = "--model=net:model"
    code, out = run(
        capsys, "align", "a.ckpt", "b.ckpt", model, "--out=c.ckpt", "--report=r.json"
    )
    assert code == 0, out.err
    report = json.loads((folder / "r.json").read_text())
    assert report["certificate"] <= report["certificate_allows"] < 1e-4
    [table] = report["tables"]
    assert [row["space"] for row in table["rows"]] == ["Dense_0"]
    kept = storage.open_checkpoint("c.ckpt").tensors["ema/decay"]
    assert np.asarray(kept).tolist() == [1, 2**40]  # those of b
    code, out = run(capsys, "certify", "b.ckpt", "c.ckpt", "--model=net:traced")
    assert code == 0 and " yes " in out.out
    code, out = run(
        capsys, "certify", "a.ckpt", "c.ckpt", model, "--report=r.html", "--seed=1"
    )
    assert code == 1 and " no " in out.out
    assert "<td>no</td>" in (folder / "r.html").read_text()
    forms = []
    for name in "bc":
        target = f"--out={name}_form.ckpt"
        code, out = run(capsys, "canonicalize", f"{name}.ckpt", model, target)
        forms.append(symmerge_jax.load(f"{name}_form.ckpt")["params"])
    for one, two in zip(*map(jax.tree.leaves, forms), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_names_are_mapped_and_extra_keys_refused(folder, capsys):
    found = storage.open_checkpoint("a.ckpt").tensors
    for seed, name in enumerate("ab"):
        tensors = {
            f"net.encoder.{n[13:].replace('/', '.')}": np.asarray(x, np.float64) + seed
            for n, x in found.items()
            if n.startswith("params/")
        }
        symmerge_jax.save(f"{name}.safetensors", tensors | {"extra": np.ones(2)})
    files = ["a.safetensors", "b.safetensors", "--model=net:model"]
    rule = r"--rename=net\.encoder\.(\d+)\.=params/Dense_\1/"
    code, out = run(capsys, "merge", *files, "--out=m.safetensors", rule, "--dry-run")
    assert code == 0 and values_of(out.out)["carried_along"] == "1", out
    assert not (folder / "m.safetensors").exists()
    code, out = run(capsys, "merge", *files, "--out=m.safetensors", rule)
    assert code == 0, out.err
    merged = symmerge_jax.load("m.safetensors")
    assert merged["extra"].tolist() == [1, 1]
    assert merged["net.encoder.0.kernel"].dtype == np.float64
    for option, message in (
        ("--extra-keys=refuse", "1 tensors that the model does not have, as 'extra'"),
        ("--rename=nt=y", "--rename=nt=y changes no name in 'a.safetensors'"),
        (r"--rename=/\w+$=", "are both called 'params/Dense_0'"),
        ("--rename=(=x", "no rule PATTERN=REPLACEMENT"),
    ):
        code, out = run(capsys, "merge", *files, "--out=n.npz", rule, option)
        assert (code, out.err.count("\n")) == (2, 1) and message in out.err, out.err
    code, out = run(capsys, "merge", *files, "--out=n.npz")
    assert "lacks 4 of 4 tensors of the model" in out.err and code == 2


def test_a_prefix_that_is_missing_is_proposed(folder, capsys):
    params = symmerge_jax.load("a.ckpt")["params"]
    symmerge_jax.save("p.npz", params)
    code, out = run(capsys, "trace", "p.npz", "--model=net:model")
    assert code == 2 and "pass --rename='^=params/'" in out.err
    code, out = run(capsys, "trace", "p.npz", "--model=net:model", "--rename=^=params/")
    assert code == 0, out.err
    code, out = run(capsys, "trace", "p.npz", "--model=net:listed", "--rename=Dense_=")
    assert code == 0 and "0: 5 permutations and positive scales" in out.out, out.err


@pytest.mark.slow
def test_described_files_are_merged(tmp_path, capsys):
    network = networks.build(MLP)
    params = testing.random_params(jax.random.key(0), network)
    twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 2)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.npz"]
    for k, path in enumerate(paths):
        symmerge_jax.save(path, jax.tree.map(lambda x, k=k: x[k], twins))
    x = np.ones((5, 4), np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.array([0, 1, 2, 0, 1]))
    options = [*paths, "--num_random_starts=2", "--seed=3", "--weights=0.25,0.75"]
    options += [f"--out={tmp_path / 'out.npz'}", f"--data={tmp_path / 'data.npz'}"]
    code, out = run(capsys, "merge", *options, f"--architecture={json.dumps(MLP)}")
    assert code == 0, out.err
    report = values_of(out.out)
    assert float(report["certificate"]) < 1e-12 and report["networks"] == "2"
    assert float(report["loss_merged"]) > 0 and "loss_barrier_after" in report
    merged = symmerge_jax.load(tmp_path / "out.npz")
    np.testing.assert_allclose(
        network.apply(merged, x), network.apply(params, x), atol=1e-5
    )


A = ["a.ckpt", "--model=net:model"]
TWO = ["merge", "b.ckpt", *A]
OUT = "--out=m.ckpt"
BAD = [
    (["merge", *A, OUT], "at least two networks, got 1"),
    (["merge", "a.ckpt", "b.ckpt"], "--out is missing: give --out=..."),
    (["merge", "a.ckpt", "b.ckpt", OUT], "does not say which architecture it holds"),
    (["merge", "a.ckpt", "x.npz", OUT, A[1]], "No such file: 'x.npz'"),
    ([*TWO, "--out=a.ckpt"], "is one of the networks to merge"),
    ([*TWO, "--out=m.txt"], "suffix '.txt'"),
    ([*TWO, "--out=m.npz"], "npz cannot hold 'step', which is no tensor"),
    ([*TWO, OUT, "--spec=spec.json"], "Pass --model or --spec, not both"),
    ([*TWO, OUT, "--aligner=magic"], "invalid choice: 'magic'"),
    ([*TWO, OUT, "--aligner=straight_through"], "looks at data: name some"),
    ([*TWO, OUT, "--weights=1,x"], "Weights must be numbers"),
    ([*TWO, OUT, "--report=r.pdf"], "reports are written as .md, .html, .json"),
    ([*TWO, OUT, "--seed=-1"], "must be an integer >= 0, got '-1'"),
    ([*TWO, OUT, "--matcher=x"], "A matcher reads networks of an --architecture"),
    ([*TWO, OUT, "--outt=x"], "unrecognized arguments: --outt=x"),
    ([*TWO, OUT, "--key=ema"], "lacks 4 of 4 tensors"),
    ([*TWO, OUT, "--key=nowhere"], "has no part 'nowhere'"),
    (
        ["merge", "a.ckpt", "b.ckpt", OUT, "--rename=a=b"],
        "--rename is for the tensors of",
    ),
    (["inspect", "a.ckpt", "--key=a"], "names a part of a PyTorch file"),
    (
        ["merge", "a.ckpt", "b.ckpt", OUT, "--spec=net.json", "--repair=bias"],
        "--repair runs the function of a --model",
    ),
    (["align", *A, OUT], "align takes two files, got 1"),
    (["align", *TWO[1:], OUT, "--data=digits"], "no effect on aligner"),
    (["certify", "a.ckpt", "--spec=net.json"], "has no function to certify"),
    (["trace"], "needs a --model"),
    (["trace", "--model=net"], "name a module and a function"),
    (["trace", "--model=nett:model"], "there is no module 'nett'"),
    (["trace", "--model=net:modell"], "module 'net' has no 'modell'"),
    (["trace", "--model=net:nothing"], "got int, expected a function without argum"),
    (["inspect", "net.py"], "damaged, or not a file of weights"),
    (["inspect", "."], "Is a directory without a checkpoint"),
    (["canonicalize", *A, OUT, "--form=decoded"], "needs a canonicalizer"),
    ([], "the following arguments are required: COMMAND"),
]


def test_each_mistake_is_one_line(folder, capsys):
    network = symmerge_jax.trace(
        Net().apply, symmerge_jax.load("a.ckpt"), jnp.ones((4, 3))
    )
    storage.save_spec("net.json", network.spec)
    before = {path.name for path in folder.iterdir()}
    for arguments, message in BAD:
        code, out = run(capsys, *arguments)
        lines = [x for x in out.err.splitlines() if not x.startswith("read: ")]
        assert (code, len(lines)) == (2, 1), (arguments, out)
        assert lines[0].startswith("error: ") and message in lines[0], lines
        assert not out.out
    assert {path.name for path in folder.iterdir()} - before <= {"__pycache__"}
    code, out = run(capsys, "merge", "--help")
    assert code == 0 and "--extra-keys" in out.out


@pytest.mark.slow
def test_networks_larger_than_memory_are_merged_piece_by_piece(folder, capsys):
    x = jnp.ones((4, 3))
    variables = Net().init(jax.random.key(3), x)
    spec = symmerge_jax.trace(Net().apply, variables, x).spec
    turned = symmetry.sample_orbit(jax.random.key(4), variables, spec, 2)
    for name, row in (("a", 0), ("b", 1)):
        twin = jax.tree.map(lambda x, row=row: np.asarray(x[row]), turned)
        flat = {symmetry.name(p): x for p, x in symmetry.flatten(twin).items()}
        symmerge_jax.save(folder / f"{name}.safetensors", flat)
    options = ["a.safetensors", "b.safetensors", "--model=net:model"]
    options_out = [*options, "--memory=2MiB", "--out=m.safetensors"]
    _, shown = run(capsys, "merge", *options_out, "--dry-run")
    expected = values_of(shown.out)
    # Two arrays of one name, 12 bytes for each pair of neurons, and what is given.
    size = max(x.size for x in jax.tree.leaves(variables))
    width = max(spec.sizes(variables).values())
    number, unit = expected["expected_memory"].split()
    wanted = 8 * size + 12 * width**2 + 2 * 2**20
    assert unit == "MiB" and abs(float(number) - wanted / 2**20) < 0.01
    assert expected["expected_search"].startswith("about ")
    code, shown = run(capsys, "merge", *options_out)
    assert code == 0, shown.err
    assert float(values_of(shown.out)["certificate"]) < 1e-12
    merged, first = map(symmerge_jax.load, ("m.safetensors", "a.safetensors"))
    for a, b in zip(*map(jax.tree.leaves, (merged, first)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for wrong, message in (
        ("--memory=2MB", "is no number of bytes, as 512MiB"),
        ("--memory=1KiB", "is too little: give 1 MiB"),
        ("--memory=2MiB --repair=rescale", "--repair needs whole networks"),
        ("--memory=2MiB --aligner=frank_wolfe", "takes aligner weight_matching"),
    ):
        code, shown = run(capsys, "merge", *options, *wrong.split(), "--out=n.npz")
        assert code == 2 and message in shown.err, shown.err
