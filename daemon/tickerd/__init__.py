"""tickerd: market log data, generated and delivered in real time to a stream."""

__version__ = "0.1.0"
