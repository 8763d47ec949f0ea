"""Wrong usage of a command reaches people as one line and exit code 2."""

import argparse
import sys
from typing import Never

EXIT_USAGE = 2


class CommandParser(argparse.ArgumentParser):
    """A command's options; its whole usage is what --help is for."""

    def error(self, message: str) -> Never:
        """Say what is wrong, and leave."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(EXIT_USAGE)
