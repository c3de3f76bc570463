"""Output formats: one module for each, registered by name; see `base`."""
