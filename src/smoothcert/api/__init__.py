"""The functions of the package: values in, values out; no disk, no printing."""
