"""No network: `refuse` turns Python's own attempts down and notes them, `forbid` kills for any.

Nothing but the standard library, and little of that: `tests/sitecustomize.py` imports it
into every Python that a test starts.
"""

import errno
import os
import sys
from functools import cache

NOTES = "SMOOTHCERT_TEST_ATTEMPTS"
NAMED = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
ADDRESSED = ("socket.connect", "socket.sendto", "socket.sendmsg")

# Of Linux, by machine: the number of the system call `socket`, and the machine's own number.
SOCKET_CALL = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}


@cache
def refuse() -> None:
    """From now on this process reaches nothing but this machine, in as far as Python can see.

    An attempt is an OSError as on a machine without a network, and a line in the file that the
    environment names.
    """
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple) -> None:
    if event in NAMED:
        host = arguments[0]
    elif event in ADDRESSED and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if not isinstance(host, str) or _is_here(host):
        return
    told = f"tests must not use the network: {event} of {host!r}"
    if NOTES in os.environ:
        with open(os.environ[NOTES], "a") as notes:
            notes.write(told + "\n")
    raise OSError(errno.ENETUNREACH, told)


def _is_here(host: str) -> bool:
    """Whether it is this machine: what can be bound is its own address. No name is looked up."""
    from ipaddress import ip_address
    from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket

    if host in ("", "localhost"):
        return True
    try:
        address = ip_address(host)
        if address.is_multicast or host == "255.255.255.255":
            return False
        with socket(AF_INET if address.version == 4 else AF_INET6, SOCK_DGRAM) as own:
            own.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True


def forbid() -> None:
    """From now on, opening an Internet socket kills this process (SIGSYS) and those it starts.

    A filter in the kernel (seccomp(2), in the language of bpf(4)), which sees native code as well,
    and any other program. It cannot be undone.

    Raises:
        OSError: the kernel refuses, or is not a Linux whose system calls are known here.
    """
    import ctypes
    import platform
    import struct

    if sys.platform != "linux" or platform.machine() not in SOCKET_CALL:
        raise OSError(errno.ENOSYS, "no filter is known for this system")
    number, machine = SOCKET_CALL[platform.machine()]
    load, equal, done = 0x20, 0x15, 0x06
    allow, kill = 0x7FFF0000, 0x80000000
    program = [
        (load, 0, 0, 4),  # the machine
        (equal, 0, 5, machine),
        (load, 0, 0, 0),  # the system call
        (equal, 0, 3, number),
        (load, 0, 0, 16),  # its first argument, the address family
        (equal, 2, 0, 2),  # AF_INET
        (equal, 1, 0, 10),  # AF_INET6
        (done, 0, 0, allow),
        (done, 0, 0, kill),
    ]
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    whole = struct.pack("HP", len(program), ctypes.addressof(steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    no_new_privileges, seccomp, by_filter = 38, 22, 2
    for request in ((no_new_privileges, 1, None), (seccomp, by_filter, whole)):
        name, value, pointed = request
        if prctl(name, ctypes.c_ulong(value), ctypes.c_char_p(pointed), None, None):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")
