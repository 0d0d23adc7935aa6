"""Pairs of keys, made as a user would have them."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pipeline.integrity import Keys


def make_keys(folder: Path, password: str | None = None, kind: str = "ec") -> Keys:
    """Write signing.pem and verify.pem into a folder."""
    folder.mkdir(exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else ed25519.Ed25519PrivateKey.generate()
    secret = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    keys = Keys(folder / "signing.pem", folder / "verify.pem", password)
    keys.signing.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, secret))
    keys.verify.write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return keys
