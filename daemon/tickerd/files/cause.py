"""What errors of the operating system mean to the operator, as a cause with its remedy."""

import errno

from tickerd.cause import Cause, one_line

PROBE_S = 1.0  # a disk does not mind
REMEDIES = {
    "ENOSPC": "free some space",
    "EDQUOT": "raise the quota",
    "EACCES": "let the daemon's user write there",
    "EPERM": "let the daemon's user write there",
    "EROFS": "mount it for writing",
    "ENOTDIR": "a directory is needed",
    "EEXIST": "a directory is needed",
    "EFBIG": "raise the limit of a file's size, or lower file.rotate_bytes",
    "EMFILE": "raise the limit of open files",
}


def cause_of(error: OSError, where: str) -> Cause:
    """Why `where` ("file.path = …", "standard output") cannot be written; somebody has to mend it."""
    code = errno.errorcode.get(error.errno or 0, "OSError")
    remedy = REMEDIES.get(code, "see to the disk")
    if where.startswith("file.path"):
        remedy += ", or set another file.path"
    line = f"{where} cannot be written: {one_line(error.strerror or str(error))}; {remedy}"
    return Cause(code, line, permanent=True, probe_s=PROBE_S)
