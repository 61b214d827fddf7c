"""Abandoned multipart uploads to S3: readers do not see them, but they cost money.

obstore aborts uploads that fail, but cannot list those that a kill left; boto3 can.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sentstream.storage.connect import Options, amazon_session


def abort_uploads(root: str, options: Options, keys: Sequence[str]) -> None:
    """Abort all uploads of some objects. Errors are ignored, since this is only cleanup.

    Args:
        root: The bucket's URI.
        options: Settings.
        keys: The objects' keys; a key that ends with ``/`` means all objects below it.
    """
    import botocore.exceptions

    bucket = urlsplit(root).netloc
    whole, directories = set(keys), tuple(key for key in keys if key.endswith("/"))
    prefix = os.path.commonpath([f"/{key}" for key in keys]).lstrip("/")
    with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        client = _client(dict(options))
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for upload in page.get("Uploads", ()):
                key = upload["Key"]
                if key in whole or key.startswith(directories):
                    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])


def _client(options: dict[str, str]) -> Any:
    from botocore.config import Config

    session = amazon_session(options)
    plain = {key.removeprefix("aws_"): value for key, value in options.items()}
    endpoint = next(
        (plain[key] for key in ("endpoint_url_s3", "endpoint_url", "endpoint") if key in plain), None
    )
    return session.client(
        "s3",
        aws_access_key_id=plain.get("access_key_id"),
        aws_secret_access_key=plain.get("secret_access_key"),
        aws_session_token=plain.get("session_token", plain.get("token")),
        region_name=plain.get("region", plain.get("default_region")),
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5}
        ),
    )
