"""Real networks that were trained apart: traced, merged, and repaired."""
