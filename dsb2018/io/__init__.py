"""Reads files as untrusted input, and writes files completely or not at all."""
