"""Reading a stream back: what `verify` (and later `tail`) are made of."""


class ReadingError(Exception):
    """Why a stream or an account file cannot be read: one line for people, with the remedy."""
