"""The verbs: values in, values out; no disk, no printing."""
