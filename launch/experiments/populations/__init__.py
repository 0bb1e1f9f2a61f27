"""Zoos of networks, divided and with the data they are measured on."""
