"""Signatures over exports, by model-signing (sigstore/model-transparency, OpenSSF Model Signing v1.0), with a key.

`model.sig` is a Sigstore bundle: a DSSE envelope around an in-toto statement with the sha256 of every other file. Keys
are elliptic curve ones (NIST P-256, P-384 or P-521) in PEM files; nothing is fetched or sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import IntegrityError
from pipeline.integrity.manifest import SIGNATURE

if TYPE_CHECKING:
    from pipeline.config import Settings

EXTRA = "pip install 'tradewind[signing]'"
MAKE_KEYS = (
    "openssl ecparam -name prime256v1 -genkey -noout -out signing.pem && "
    "openssl ec -in signing.pem -pubout -out verify.pem"
)


@dataclass(frozen=True)
class Keys:
    """Which keys this process signs with, and asks signatures of.

    Attributes:
        signing: Path or None. PEM file of the private key; None signs nothing.
        verify: Path or None. PEM file of the public key; None asks for no signature.
        password: str or None. Of the private key.
    """

    signing: Path | None = None
    verify: Path | None = None
    password: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Return the keys that the settings name."""
        secret = settings.signing_key_password
        return cls(settings.signing_key, settings.verify_key, secret.get_secret_value() if secret else None)

    def check(self) -> None:
        """Raise IntegrityError unless the keys can be used, and what is signed here will be accepted here."""
        private = self._private() if self.signing else None
        public = self._public() if self.verify else None
        if public and not private:
            raise IntegrityError(
                f"TRADEWIND_VERIFY_KEY is {self.verify}, so that only signed models become champion, and there is no "
                "key to sign with; set TRADEWIND_SIGNING_KEY to the private key of the pair"
            )
        if private and public and private.public_key() != public:
            raise IntegrityError(
                f"TRADEWIND_SIGNING_KEY ({self.signing}) and TRADEWIND_VERIFY_KEY ({self.verify}) are not a pair, so "
                f"what is signed here would be refused here; make the public one anew: openssl ec -in {self.signing} "
                "-pubout"
            )
        if private or public:
            _library()

    def sign(self, folder: Path, signature: Path) -> None:
        """Write the signature over all files of a folder, but for one that it has already.

        Raises:
            IntegrityError: the key or the library cannot be used.
        """
        self._private()  # its errors say more than the library's
        library = _library()
        with _told(f"signing {folder}", f"check the key {self.signing}"):
            signing = library.signing.Config().use_elliptic_key_signer(
                private_key=self.signing, password=self._password
            )
            signing.set_hashing_config(_hashing(library)).sign(folder, signature)

    def verify_signature(self, folder: Path, name: str) -> None:
        """Raise IntegrityError unless a signature by the right key covers exactly the files of the folder.

        `name` is the version's, for the error.
        """
        self._public()
        if not (folder / SIGNATURE).is_file():
            raise IntegrityError(
                f"{name} is not signed, and TRADEWIND_VERIFY_KEY asks for a signature; it is not loaded. If it is to "
                f"be trusted, sign it where the private key is: tradewind models sign, with TRADEWIND_SIGNING_KEY set"
            )
        library = _library()
        with _told(f"the signature of {name} in {folder}", "it is not loaded; find out who changed it, or which key"):
            verifying = library.verifying.Config().use_elliptic_key_verifier(public_key=self.verify)
            verifying.set_hashing_config(_hashing(library)).verify(folder, folder / SIGNATURE)

    @property
    def _password(self) -> bytes | None:
        return self.password.encode() if self.password else None

    def _private(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return _read("TRADEWIND_SIGNING_KEY", self.signing, lambda data: load_pem_private_key(data, self._password))

    def _public(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        return _read("TRADEWIND_VERIFY_KEY", self.verify, load_pem_public_key)


NO_KEYS = Keys()


def _read(setting: str, path: Path | None, load: Any) -> Any:
    """Return a key from a PEM file. Raises IntegrityError: missing, no PEM, wrong password, or another kind of key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    kind = "private" if "SIGNING" in setting else "public"
    wanted = f"expected the PEM file of a {kind} key on the curve P-256, P-384 or P-521. Make a pair with: {MAKE_KEYS}"
    if path is None:
        raise IntegrityError(f"{setting} is not set; {wanted}")
    try:
        key = load(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"{setting} is {path}, which cannot be used ({type(error).__name__}: {error}); {wanted}"
        ) from error
    curve = getattr(key, "curve", None)
    if not isinstance(curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        raise IntegrityError(f"{setting} is {path}, which holds {type(key).__name__}; {wanted}")
    return key


def _hashing(library: Any) -> Any:
    """Return which files count: all but the signature itself, those that git would ignore included."""
    return library.hashing.Config().set_ignored_paths(paths=[Path(SIGNATURE)], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise IntegrityError(
            f"signatures need the library model-signing, and it cannot be imported ({error}); install it with {EXTRA}"
        ) from error
    return model_signing


@contextmanager
def _told(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever the library raises into one message."""
    try:
        yield
    except Exception as error:
        raise IntegrityError(f"{what} failed ({type(error).__name__}: {error}); {remedy}") from error
