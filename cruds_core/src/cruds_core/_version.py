"""The version of the distribution, for those who must not import its metadata to know it."""

__version__ = "2.0.0"
