"""Bring networks together by every method, and measure what lies between them."""
