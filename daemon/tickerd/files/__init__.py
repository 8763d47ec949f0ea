"""Files, standard output and nothing at all as destinations: lines of JSON."""
