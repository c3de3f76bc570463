"""Output formats. Each module contains one format and registers it by name, see `base`."""
