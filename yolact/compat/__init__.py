"""Adapters to other implementations' files."""
