"""Whatever happens to a file that is written, it is never read as something else."""

import pytest

from benchmarks import damage

QUICK = ("safetensors", "npz", "zoo")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow)
        for kind in damage.KINDS
    ],
)
def test_no_damage_is_silent(kind):
    counts = damage.examine(kind, num_flips=150, num_cuts=100)
    assert counts["silent"] == counts["unclear"] == 0, counts["examples"]
    assert counts["refused"] + counts["equal"] == 250
    assert counts["refused"] > 150 or kind == "zoo part"


def test_the_measure_is_not_blind(monkeypatch):
    monkeypatch.setattr("symmerge_jax.files._json.compare_digests", lambda *_: None)
    counts = damage.examine("safetensors", num_flips=30, num_cuts=0)
    assert counts["silent"] > 0 and "changed: silent" in counts["examples"][0]
