"""A folder becomes a new model repository on the Hugging Face hub.

In: a folder, owner/name. Out: one commit in a repository that did not exist before. Every failure
is one sentence (HubError), and leaves no repository behind.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from prime_core.storage.hub import HubError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_new_repository(repo_id: str) -> None:
    """Raise HubError unless a repository of this name could be made now: before any work is done.

    Asks the hub once.
    """
    from huggingface_hub import HfApi, constants, get_token

    if not _ID.fullmatch(repo_id):
        raise HubError(f"hf:{repo_id}: expected hf:OWNER/NAME, the new repository on the hub")
    if constants.HF_HUB_OFFLINE:
        raise HubError(f"hf:{repo_id}: the hub may not be used here (HF_HUB_OFFLINE)")
    if get_token() is None:
        raise HubError(
            f"hf:{repo_id}: no token for the hub: log in with `hf auth login`, or set HF_TOKEN"
        )
    try:
        taken = HfApi().repo_exists(repo_id)
    except Exception as error:  # of the hub, of its HTTP library
        raise HubError(f"hf:{repo_id}: {_reason(error)}") from None
    if taken:
        raise HubError(
            f"hf:{repo_id} exists already: choose another name; to add to it, export to a folder "
            f"and `hf upload {repo_id} FOLDER`"
        )


def upload_folder(folder: Path, repo_id: str, private: bool, message: str) -> str:
    """Make the repository and commit the folder; returns its address. Raises HubError."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        made = api.create_repo(repo_id, private=private)
    except Exception as error:
        raise HubError(f"hf:{repo_id}: {_reason(error)}") from None
    try:
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except BaseException as error:  # Ctrl-C as well
        # Ours, made a moment ago, and without a commit: an empty one would look like a model.
        with contextlib.suppress(Exception):
            api.delete_repo(repo_id)
        if isinstance(error, Exception):
            raise HubError(f"hf:{repo_id}: not uploaded: {_reason(error)}") from None
        raise
    return str(made)


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", "")
        if status == 401:
            return "the hub refuses your token: log in again with `hf auth login`"
        if status == 403:
            return "your token may not write there: use one with write access, or another owner"
        if status == 409:
            return "it exists already"
        return f"the hub answered with status {status}: try again later"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the hub cannot be reached or has broken off ({lines[0]})"
