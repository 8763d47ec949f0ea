"""`python -m tickerd` and the command `tickerd`."""

import sys


def main() -> int:
    """Run the command line; its exit code."""
    try:
        from tickerd import cli  # noqa: PLC0415 - it takes a second, in which Ctrl-C must end quietly too
    except KeyboardInterrupt:
        return 1
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
