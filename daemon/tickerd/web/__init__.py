"""The web side, in the supervisor: health, metrics, status."""
