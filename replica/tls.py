"""Encryption between nodes: TLS 1.3, with the authorities of the machine or one's own. One test each:

1. Nodes meet through it, and none of an unknown authority.
2. With an authority, a server lets in only who has a certificate of it.
3. Plain and encrypted are not mixed up.
"""

from __future__ import annotations

import ssl

from replica.errors import UsageError


def client_tls(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """A context from the files of `--ca`, `--cert` and `--key`; None if there are none."""
    if not (ca or cert):
        return None
    return _with_files(_context(ssl.Purpose.SERVER_AUTH, ca), cert, key)


def server_tls(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """The same for a server; with `--ca`, clients must show a certificate of it."""
    if not cert:
        if ca or key:
            raise UsageError("--ca and --key go with --cert")
        return None
    context = _context(ssl.Purpose.CLIENT_AUTH, ca)
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return _with_files(context, cert, key)


def _context(purpose: ssl.Purpose, ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(purpose, cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the authority {ca} cannot be used: {error}") from None


def _with_files(context: ssl.SSLContext, cert: str | None, key: str | None) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if cert:
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"the certificate {cert} cannot be used: {error}") from None
    return context
