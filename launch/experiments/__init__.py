"""The experiments of both papers, run from a config into a folder."""
