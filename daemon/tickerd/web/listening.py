"""The sockets of the web side: an address, a unix socket, or one that the service manager holds."""

import os
import socket
from pathlib import Path

from tickerd.about import listen_address

CONTROL_MODE = 0o660


class ListenError(Exception):
    """A socket cannot be had; the message is one line that names the setting."""


def bound(listen: str) -> socket.socket:
    """A TCP socket at `host:port`, not listening yet; ListenError when the address cannot be had."""
    host, port = listen_address(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(
            f"web.listen: {listen} cannot be used ({error.strerror}); set another address"
        ) from error
    return listener


def bound_control(path: str) -> socket.socket:
    """A unix socket that owner and group may use; what a dead daemon left at its place is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if Path(path).is_socket():
            _remove_dead(path)
        before = os.umask(0o777 & ~CONTROL_MODE)  # no moment at which others could connect
        try:
            listener.bind(path)
        finally:
            os.umask(before)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"web.control_socket: {path} cannot be used ({error.strerror or error}); set another path"
        ) from error
    return listener


def _remove_dead(path: str) -> None:
    """Remove a socket on which nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


def inherited(descriptor: int) -> socket.socket:
    """A socket that the service manager listens on; ListenError when it is none."""
    try:
        listener = socket.socket(fileno=descriptor)
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return listener
        listener.detach()
    except OSError:
        pass
    raise ListenError("the service manager's socket does not listen; ListenStream= in tickerd.socket")


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Where a socket listens, for people."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
