"""TLS contexts for what we listen on, and for calling it ourselves."""

import ssl

from modelyard.errors import Invalid


def listening(certificate: str, key: str, where: str) -> ssl.SSLContext | None:
    """For a listening address; None means plain HTTP.

    Raises Invalid, naming the settings of `where` (`gateway` or `control`), when only one file is
    given or one cannot be used.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        missing = "key" if certificate else "certificate"
        raise Invalid(
            f"{where}.tls.{missing} is not set", hint="TLS needs the certificate and its key"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise Invalid(
            f"{where}.tls: {certificate} with {key}: {error.strerror or error}",
            hint="both are PEM files; the first holds the whole chain, the second its private key",
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def calling(certificate: str) -> ssl.SSLContext | None:
    """For calls between our own processes: they trust exactly this certificate file, whatever
    name and issuer it has. None where there is no TLS."""
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context
