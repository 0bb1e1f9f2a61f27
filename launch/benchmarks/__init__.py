"""What `launch/benchmark.py` measures: a function per benchmark, a dict per record."""
