"""Functions: values in, values out; no disk, no printing."""
