"""What importing the package adds to importing JAX and Flax."""

import json
import statistics
import subprocess
import sys

CODE = """
import json, time
start = time.perf_counter()
import flax.linen, jax
between = time.perf_counter()
import symmerge_jax
end = time.perf_counter()
print(json.dumps([between - start, end - between]))
"""


def run(num_processes: int = 15) -> dict[str, float]:
    """Return the medians over fresh processes, in seconds; the first is not counted."""
    times = [
        json.loads(subprocess.check_output([sys.executable, "-c", CODE]))
        for _ in range(num_processes + 1)
    ]
    jax_and_flax, added = zip(*times[1:], strict=True)
    return {
        "jax_and_flax_seconds": statistics.median(jax_and_flax),
        "added_seconds": statistics.median(added),
        "num_processes": num_processes,
    }
