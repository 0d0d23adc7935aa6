"""Addresses of targets: what is refused when the recipe is read, and how the message helps."""

import pytest
from tiny_steps import make_recipe

from pipeline.config.target_urls import check_target


@pytest.mark.parametrize(
    "url",
    [
        *("file:///models", "s3://bucket/prefix", "gs://bucket", "memory://models"),
        *("hf://clinic/organ-{task}", "kaggle://clinic/organ/keras/{task}", "file:///models/{recipe}"),
    ],
)
def test_addresses_that_mean_something_are_kept_as_they_are(url: str) -> None:
    assert check_target(url) == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/models", "no address of a target; expected file:///FOLDER"),
        ("file://", "no address"),
        ("file://models/here", "not an absolute folder"),
        ("hf://organ", "expected .*hf://OWNER/NAME"),
        ("hf://clinic/organ/main", "hf://OWNER/NAME"),
        ("hf://clinic/", "hf://OWNER/NAME"),
        ("kaggle://clinic/organ", "kaggle://OWNER/MODEL/FRAMEWORK/VARIATION"),
        ("s4://bucket/prefix", "nothing can be written to"),
        ("https://host/models", "nothing can be written to"),
        ("s3://key:secret@bucket/prefix", "credentials do not stand in recipes"),
        ("s3://bucket/prefix?secret=x", "credentials do not stand in recipes"),
        ("file:///models/{version}", r"may hold \{recipe\} and \{task\}"),
        ("file:///models/{", "nothing else in braces"),
    ],
)
def test_other_addresses_are_refused_with_what_is_allowed(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        check_target(url)
    assert "key:secret" not in str(error.value)
    with pytest.raises(ValueError, match=told):
        make_recipe(publish={"targets": [url]})


def test_two_models_do_not_share_a_repository() -> None:
    task = {"data": {"source": "notes", "label": "kind"}}
    two = {"season": task}
    for targets in (["hf://clinic/organ"], ["file:///models", "file:///models"]):
        with pytest.raises(ValueError, match="for more than one model"):
            make_recipe(tasks=two, publish={"targets": targets})
    targets = ["hf://clinic/{task}", "file:///models"]
    assert make_recipe(tasks=two, publish={"targets": targets}).publish.targets == targets
