"""Kaggle Models: each version is a version of one variation of a model; a model that is not there is made, private."""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.delivery.target import missing
from pipeline.registry import Version

# Kaggle's own names of licences, by their SPDX identifiers.
LICENCES = {
    "apache-2.0": "Apache 2.0",
    "mit": "MIT",
    "cc0-1.0": "CC0: Public Domain",
    "cc-by-4.0": "Attribution 4.0 International (CC BY 4.0)",
    "cc-by-sa-4.0": "CC BY-SA 4.0",
    "gpl-3.0": "GPL 3",
}


class Kaggle:
    """A variation of a model.

    Args:
        url: kaggle://OWNER/MODEL/FRAMEWORK/VARIATION, where FRAMEWORK is keras or another that Kaggle knows.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.handle = url.partition("://")[2]

    def require(self) -> None:
        """Raise RecipeError: kagglehub or credentials are missing, or Kaggle knows no such framework."""
        library = self._library()
        try:
            library.handle.parse_model_handle(self.handle).framework_enum()
        except ValueError as error:
            raise missing(self.url, f"Kaggle knows no such framework ({error})", "name it keras") from error
        try:
            credentials = library.config.get_kaggle_credentials()
        except ValueError as error:
            raise missing(self.url, f"its credentials cannot be read ({error})", "write the file anew") from error
        if credentials is None:
            raise missing(self.url, "there is no token for it", "set KAGGLE_API_TOKEN")

    def push(self, version: Version) -> str:
        """Upload the version's files as a new version there; return the variation's page."""
        library = self._library()
        recipe = yaml.safe_load((version.bundle / "recipe.yaml").read_text("utf-8"))
        library.model_upload(
            self.handle,
            str(version.bundle),
            license_name=LICENCES.get((recipe.get("publish", {}).get("license") or "").lower()),
            version_notes=f"{version.name} version {version.version}",
        )
        return str(library.handle.parse_model_handle(self.handle).to_url())

    def _library(self) -> Any:
        try:
            import kagglehub.config
            import kagglehub.handle
        except ImportError as error:
            raise missing(
                self.url, f"kagglehub is not installed ({error})", "pip install 'tradewind[kaggle]'"
            ) from error
        return kagglehub
