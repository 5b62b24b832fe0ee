"""The package's version, for modules that `smoothcert` itself imports."""

__version__ = "0.1.0"
