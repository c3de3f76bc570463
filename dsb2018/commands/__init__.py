"""What the scripts in `tools/` do."""
