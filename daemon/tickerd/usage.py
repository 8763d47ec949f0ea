"""How what is wrong reaches people: one line on standard error."""

import logging
import sys
from typing import Never

from tickerd.observe import logs

EXIT_USAGE = 2


def say(line: str) -> None:
    """One line for people, on standard error; in the journal like all others there."""
    if logs.is_journal():
        logs.start("info", "auto", "tickerd")
        logging.getLogger("tickerd").error("%s", line)
        return
    sys.stderr.write(f"tickerd: {line}\n")


def arguments_error(line: str) -> Never:
    """A wrong argument that argparse could not see."""
    say(line)
    raise SystemExit(EXIT_USAGE)
