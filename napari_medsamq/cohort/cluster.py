"""How a scheduler of Dask's is spoken to, and what is refused because others could listen."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from napari_medsamq.errors import CohortError

if TYPE_CHECKING:
    from distributed import Security


@dataclass(frozen=True)
class Connection:
    """A scheduler, and how it is spoken to.

    Attributes
    ----------
    address : str
        tls://HOST:PORT, or tcp://HOST:PORT.
    ca, cert, key : Path or None
        PEM files; all or none, where Dask's own configuration has them.
    insecure : bool
        Whether TCP is allowed beyond this computer.
    """

    address: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False


def check_connection(connection: Connection) -> Security | None:
    """Return how to speak to a scheduler; None for TCP, which only this computer is spoken to by.

    Raises
    ------
    CohortError
        If the address is none, what is sent could be read or altered by others, or a file of TLS
        is missing.
    """
    distributed = dask_distributed()
    address = connection.address
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or parts.scheme not in ("tls", "tcp"):
        raise CohortError(f"A scheduler is tls://HOST:PORT or tcp://HOST:PORT, not {address!r}.")
    files = {
        "--tls-ca": connection.ca,
        "--tls-cert": connection.cert,
        "--tls-key": connection.key,
    }
    given = {option: path for option, path in files.items() if path is not None}
    if parts.scheme == "tcp":
        if given:
            raise CohortError(f"{address} does not use TLS: write tls:// for {', '.join(given)}.")
        check_reach(address, connection)
        return None
    if given and len(given) < len(files):
        raise CohortError(f"TLS needs all of {', '.join(files)}, or none, to use Dask's own files.")
    for option, path in given.items():
        if not path.is_file():
            raise CohortError(f"{option}: there is no file {path}.")
    own = {
        "tls_ca_file": str(connection.ca),
        "tls_client_cert": str(connection.cert),
        "tls_client_key": str(connection.key),
    }
    try:
        security = distributed.Security(require_encryption=True, **(own if given else {}))
        context = security.get_connection_args("client").get("ssl_context")
    except (OSError, ValueError) as error:
        raise CohortError(f"The files for TLS cannot be used ({error}).") from error
    if context is None:
        raise CohortError(
            f"{address} needs TLS: give --tls-ca, --tls-cert and --tls-key, or set "
            "distributed.comm.tls in Dask's configuration."
        )
    return cast("Security", security)


def check_reach(address: str, connection: Connection) -> None:
    """Check that what is sent to an address stays on this computer or is encrypted.

    Raises
    ------
    CohortError
        If neither is so, and the user has not allowed it.
    """
    host = urlsplit(address).hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here and not connection.insecure and not address.startswith("tls://"):
        raise CohortError(
            f"{address} is not on this computer and not encrypted: who can reach it can run any "
            "program there, and read what is sent. Use tls://, or add --insecure in a network that "
            "you trust."
        )


def dask_distributed() -> Any:
    """Return Dask's `distributed`.

    Raises
    ------
    CohortError
        If it is not installed.
    """
    try:
        import distributed  # an extra: not needed in one process
    except ImportError as error:
        raise CohortError(
            f"Several processes need Dask's distributed, which is not installed ({error}). Install "
            'it with: pip install "napari-medsamq[cohort]"'
        ) from error
    return distributed
