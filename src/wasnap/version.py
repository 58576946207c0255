"""The version of this package, which a journal names its maker by."""

VERSION = "0.1.0"
