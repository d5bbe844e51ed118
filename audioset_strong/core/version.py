"""The version of the package."""

from importlib import metadata

try:
    VERSION = metadata.version("audioset_strong")
except metadata.PackageNotFoundError:  # a source tree that was not installed
    VERSION = "0+unknown"
