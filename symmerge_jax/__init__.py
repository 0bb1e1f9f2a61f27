"""Remove the symmetries of trained neural networks: canonicalise, align, merge."""

__version__ = "0.1.0"

__all__ = ["__version__"]
