"""Remote media. Decides what is connected to: a listed host, at an address that was looked up once, checked and is dialled.

Off unless hosts are named. A name that is looked up twice can be answered twice (DNS rebinding), so the address that was
checked is the one that is dialled, with the name kept for TLS and `Host`. Parsers disagree about odd URLs (backslashes,
user names, other numerals), so only plain ones are taken. Every redirect goes through all of it again.

This is the one module of the package that opens a connection to what a request names; a test looks for others.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection
from urllib.parse import urljoin

from polymodal.serving.errors import ApiError
from polymodal.serving.limits import ServingLimits

_PLAIN = re.compile(
    r"(https?)://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::([0-9]{1,5}))?(/[!$&-;=?-Z_a-z~%]*)?", re.ASCII
)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)$")  # a last label that resolvers read as a number: 2130706433, 0x7f.1
_BLOCK = 65_536
_EMBEDDING = tuple(  # IPv6 that stands for an IPv4 address: NAT64, 6to4, Teredo, mapped, compatible, translated
    map(
        ipaddress.IPv6Network,
        ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::ffff:0:0/96", "::/96", "::ffff:0:0:0/96"),
    )
)
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10")))

Resolve = Callable[[str, int], list[str]]


def is_public(address: str) -> bool:
    """Whether an address (as `getaddrinfo` writes it) is of the public internet, and says so by itself: no private,
    loopback, link-local, shared (CGNAT), multicast or reserved one, and no IPv4 address inside IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # also of one with a zone (fe80::1%eth0)
        return False
    if isinstance(ip, ipaddress.IPv6Address) and any(ip in network for network in _EMBEDDING):
        return False
    if any(ip in network for network in _NOT_PUBLIC if network.version == ip.version):
        return False
    bad = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    return ip.is_global and not bad


def resolved(host: str, port: int) -> list[str]:
    """All addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """`hosts`: names whose media may be fetched, each exactly. `ports`: those that a URL may name. `resolve`, `allowed`:
    for tests."""

    def __init__(
        self,
        hosts: Collection[str],
        limits: ServingLimits,
        *,
        ports: Collection[int] = (80, 443),
        resolve: Resolve = resolved,
        allowed: Callable[[str], bool] = is_public,
    ) -> None:
        self.hosts, self.limits, self.ports = {host.lower() for host in hosts}, limits, ports
        self.resolve, self.allowed = resolve, allowed
        self._tls = ssl.create_default_context()

    async def fetch(self, url: str, most: int, param: str | None = None) -> bytes:
        """The bytes behind a URL, at most `most`. Raises `ApiError`."""
        return await asyncio.to_thread(self._fetch, url, most, param)

    def _fetch(self, url: str, most: int, param: str | None) -> bytes:
        until = time.monotonic() + self.limits.fetch_seconds
        for _ in range(self.limits.redirects + 1):
            secure, host, port, path = self.checked(url, param)
            try:
                found = self._get(secure, host, port, path, most, until, param)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise ApiError("remote_media_failed", param, f"{type(error).__name__}: {error}") from error
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise ApiError("remote_media_failed", param, "too many redirects")

    def checked(self, url: str, param: str | None) -> tuple[bool, str, int, str]:
        """TLS or not, host, port and path of a plain URL of a listed host. Raises `ApiError`."""
        match = _PLAIN.fullmatch(_lowered(url))
        if match is None:
            raise ApiError("remote_media_not_allowed", param, "not a plain URL")
        scheme, host, port, path = match.groups()
        number = int(port or (443 if scheme == "https" else 80))
        if host not in self.hosts or _NUMERIC.search(host.rpartition(".")[2]) or number not in self.ports:
            raise ApiError("remote_media_not_allowed", param, "host or port not listed")
        return scheme == "https", host, number, path or "/"

    def _get(
        self, secure: bool, host: str, port: int, path: str, most: int, until: float, param: str | None
    ) -> bytes | str:
        """The body of a reply, or where it redirects to."""
        addresses = self.resolve(host, port)
        if not addresses or not all(map(self.allowed, addresses)):  # one bad address spoils the name
            raise ApiError("remote_media_not_allowed", param, "an address that is not public")
        connection = http.client.HTTPConnection(host, port)
        sock = socket.create_connection((addresses[0], port), timeout=_left(until))
        # A timeout of the socket is one of each read, and a host may send a byte at a time for hours.
        alarm = threading.Timer(_left(until), _hang_up, [sock.fileno()])
        alarm.start()
        try:
            if secure:
                sock = self._tls.wrap_socket(sock, server_hostname=host)
            connection.sock = sock
            connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "polymodal"})
            reply = connection.getresponse()
            if reply.status in (301, 302, 303, 307, 308) and reply.getheader("Location"):
                return str(reply.getheader("Location"))
            if reply.status != 200:
                raise ApiError("remote_media_failed", param, f"status {reply.status}")
            if int(reply.getheader("Content-Length") or 0) > most:
                raise ApiError("media_too_large", param)
            data = bytearray()
            while True:
                _left(until)
                block = reply.read1(_BLOCK)
                if not block:
                    _left(until)  # hung up on, it looks complete
                    if len(data) < int(reply.getheader("Content-Length") or 0):
                        raise ApiError("remote_media_failed", param, "cut short")
                    return bytes(data)
                data += block
                if len(data) > most:
                    raise ApiError("media_too_large", param)
        finally:
            alarm.cancel()
            alarm.join()  # so that it cannot hang up on whoever gets this number next
            connection.close()
            sock.close()


def _hang_up(number: int) -> None:
    """Shut down a connection by the number of its descriptor, whoever wraps it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
        sock.shutdown(socket.SHUT_RDWR)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


def _lowered(url: str) -> str:
    """Scheme and host in small letters."""
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{slashes}{host.lower()}{slash}{path}"
