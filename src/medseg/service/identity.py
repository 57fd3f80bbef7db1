"""One name for a result: what went in, which bundle, which options. Its UIDs follow from it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def key_of(input_digest: str, bundle_digest: str, options: Mapping[str, Any]) -> str:
    """The key of a result: the same input, bundle and options have the same one.

    Args:
        input_digest: SHA-256 of the series or of the file.
        bundle_digest: SHA-256 of the bundle.
        options: What else decides about the result, as JSON.
    """
    words = json.dumps(
        [input_digest, bundle_digest, dict(options)], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(words.encode()).hexdigest()
