"""Make the secrets of docker/compose.yaml, each in a file of its own; those that are there stay.

    python docker/make_secrets.py [FOLDER]      default: docker/secrets

Needs Python alone. The folder is its owner's only; the files in it can be read by the containers' users.
"""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path

POSTGRES = "postgres:5432"
REDIS = "redis:6379"


def make(folder: Path) -> list[Path]:
    """Write the secrets that are missing into a folder; return their files.

    Without a line break at the end: Airflow takes what `cat` prints as it is.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[Path] = []

    def secret(name: str, value: str) -> str:
        file = folder / name
        if not file.exists():
            file.write_text(value)
            file.chmod(0o444)
            made.append(file)
        return file.read_text()

    secret("postgres_password", secrets.token_urlsafe(24))
    airflow = secret("airflow_password", secrets.token_urlsafe(24))
    mlflow = secret("mlflow_password", secrets.token_urlsafe(24))
    redis = secret("redis_password", secrets.token_urlsafe(24))
    database = f"postgresql+psycopg://airflow:{airflow}@{POSTGRES}/airflow"
    secret("airflow_database", database)
    secret("celery_results", f"db+{database}")
    secret("celery_broker", f"redis://:{redis}@{REDIS}/0")
    secret("redis_conf", f"requirepass {redis}\n")
    secret("mlflow_database", f"postgresql+psycopg://mlflow:{mlflow}@{POSTGRES}/mlflow")
    secret("fernet_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    secret("api_secret_key", secrets.token_urlsafe(48))
    secret("jwt_secret", secrets.token_urlsafe(48))
    secret("serve_tokens", secrets.token_urlsafe(32))
    return made


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "secrets"
    for new in make(target):
        sys.stdout.write(f"made {new}\n")
