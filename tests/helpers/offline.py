"""Runs Python code in a process that has no network, and that tells if it reaches for it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

REACHED = "REACHED FOR THE NETWORK"

# Sockets within the computer are let through, those of the screen. So is a socket that is bound to
# this computer and reaches for nothing: urllib3, which pydicom imports, asks so whether there is
# IPv6. What catches the error is told all the same.
_GUARD = f"""
import socket
import sys

LOCAL = ("127.0.0.1", "::1")
ASKING = {{
    *("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"),
    *("socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo", "socket.bind"),
}}


def refuse(event, arguments):
    if event not in ASKING:
        return
    if getattr(arguments[0], "family", None) == getattr(socket, "AF_UNIX", "none"):
        return
    if event == "socket.bind" and arguments[1][0] in LOCAL:
        return
    print("{REACHED}", event, arguments[1:], file=sys.stderr, flush=True)
    raise RuntimeError(event)


sys.addaudithook(refuse)
"""


def run_offline(code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with arguments and environment variables in a process of its own."""
    # As on a user's computer: where these are set, OpenVINO sends no telemetry anyway.
    quiet = ("CI", "TF_BUILD", "JENKINS_URL")
    env = {name: value for name, value in os.environ.items() if name not in quiet} | variables
    command = [*_without_network(), sys.executable, "-c", _GUARD + code, *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=env, timeout=250)


@cache
def _without_network() -> tuple[str, ...]:
    """Return what takes the network from a process, C code included, where Linux lets users do so.

    Elsewhere only what Python itself does is watched.
    """
    command = ("unshare", "--map-root-user", "--net")
    try:
        done = subprocess.run([*command, "true"], capture_output=True, check=False)
    except OSError:
        return ()
    return command if done.returncode == 0 else ()
