"""What is said of a store that refuses, and of one that fails."""

import pytest

from kcap_ray.runs.systems import REFUSED, words_of


@pytest.mark.parametrize(
    ("said", "is_refused"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", True),
        ("ExpiredToken: The provided token has expired.", True),
        ("InvalidAccessKeyId: The AWS Access Key Id you provided does not exist", True),
        ("Unable to locate credentials", True),
        (
            "AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body.",
            True,
        ),
        ("google::cloud::Status(UNAUTHENTICATED: Anonymous caller does not have access)", True),
        ("AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7", False),
        ("AWS Error SLOW_DOWN during PutObject operation: Reduce your request rate", False),
        ("AWS Error SERVICE_UNAVAILABLE during HeadObject operation: No response body.", False),
        ("[Errno 28] No space left on device", False),
    ],
)
def test_credentials_are_named_where_a_store_refuses(said: str, is_refused: bool) -> None:
    """A store that answers so has often been given none, or some that have expired."""
    assert (REFUSED in words_of(OSError(said))) == is_refused
