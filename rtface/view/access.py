"""Who may look and who may order: by address, by the name that was asked for, by a token. Pure."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from rtface.types import UserError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
COOKIE = "rtface_token"
#: shorter ones can be guessed
LEAST_TOKEN = 16


def is_loopback(address: str) -> bool:
    """Whether an address belongs to this machine alone."""
    if address == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # whoever asks by IPv4 at a socket of both looks like this
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def in_url(host: str) -> str:
    """Return a name or address as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def make_token(file: Path | None) -> str:
    """Return the token of a file, or a new one.

    Raises
    ------
    UserError
        The file cannot be read, or its token is too short.
    """
    if file is None:
        return secrets.token_urlsafe(24)
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: no token can be read ({error}); write one into it") from None
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{file}: a token has at least {LEAST_TOKEN} ASCII characters without spaces; "
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of where it comes from.

    Attributes
    ----------
    client : str
        Address of the peer.
    host : str
        ``Host`` header: whom the browser believes to talk to.
    origin : str
        ``Origin`` header: whose page asks; empty where none is sent.
    tokens : tuple of str
        Whatever was shown as a token.
    proxied : bool
        Somebody passed it on, so that the address is not the asker's.
    """

    client: str
    host: str
    origin: str = ""
    tokens: tuple[str, ...] = ()
    proxied: bool = False


class Access:
    """Decides. With no token only this machine is let in.

    A browser on this machine may be led here by a foreign page (a name that resolves to
    127.0.0.1), so that the address alone says nothing: the name asked for has to be this machine's,
    too.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    def local(self, asked: Asked) -> bool:
        """Whether a request comes from this machine, and means it."""
        direct = is_loopback(asked.client) and not asked.proxied
        return direct and host_name(asked.host) in LOOPBACK_NAMES

    def may_look(self, asked: Asked) -> bool:
        """Whether a request is answered at all."""
        return self.local(asked) or self.has_token(asked)

    def has_token(self, asked: Asked) -> bool:
        """Whether the token was shown."""
        if self._token is None:
            return False
        known = self._token.encode()
        return any(hmac.compare_digest(known, shown.encode()) for shown in asked.tokens)

    @staticmethod
    def same_origin(asked: Asked) -> bool:
        """Whether it is our own page that asks; programs send no origin and are no page."""
        if not asked.origin:
            return True
        scheme, _, rest = asked.origin.partition("://")
        return scheme in ("http", "https") and rest.lower() == asked.host.lower()
