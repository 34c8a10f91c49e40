"""tpactl: a speech adapter's whole life, from a department's audio to a verified package."""

__version__ = "0.1.0"
