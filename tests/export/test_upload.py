"""`prime export --to hf:OWNER/NAME`, by the hub's own library to a hub on this machine."""

import pytest
from huggingface_hub import constants

from prime_core.export import export
from prime_core.storage import hub_upload
from prime_core.storage.hub import HubError
from tests.support.exported_run import make_run_with_weights
from tests.support.hub_uploads import TOKEN, UploadHub


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run_with_weights(tmp_path_factory.mktemp("results") / "made-up", kept=(4,))


@pytest.fixture
def hub(monkeypatch):
    with UploadHub({"lab/taken": {}}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # The newer protocol is the work of a binary library, which this hub does not speak.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def upload(run_dir, repo_id: str, public: bool = False) -> str:
    return str(export.run(f"{run_dir}@4", f"hf:{repo_id}", "policy", False, None, public))


def test_a_private_repository_holds_the_same_files_as_a_folder(run_dir, hub, tmp_path, capsys):
    assert upload(run_dir, "lab/new") == f"{hub.url}/lab/new"
    export.run(f"{run_dir}@4", str(tmp_path / "new"), "policy", False, None, False)
    files = hub.repositories["lab/new"]
    assert set(files) == {path.name for path in (tmp_path / "new").iterdir()}
    for path in (tmp_path / "new").iterdir():
        if path.name != "README.md":  # it has the repository's name
            assert files[path.name] == path.read_bytes(), path.name
    assert hub.private["lab/new"]
    assert '.from_pretrained("lab/new"' in files["README.md"].decode()
    assert set(hub.cards) == {files["README.md"].decode()}  # it asks the hub whether it is valid
    assert "(private): policy of iteration 4 of made-up" in capsys.readouterr().out
    assert [path.name for path in run_dir.parent.iterdir()] == ["made-up"]


@pytest.mark.usefixtures("hub")
def test_the_runs_own_weights_are_not_changed_by_links_to_them(run_dir):
    folder = run_dir / "iterations" / "0004" / "policy"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    upload(run_dir, "lab/links")
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before
    assert all(path.stat().st_nlink == 1 for path in folder.iterdir() if path.is_file())


def test_a_public_repository_only_where_asked(run_dir, hub):
    upload(run_dir, "lab/open", public=True)
    assert not hub.private["lab/open"]


def test_a_repository_that_exists_is_not_touched(run_dir, hub):
    with pytest.raises(HubError, match="hf:lab/taken exists already: choose another name"):
        upload(run_dir, "lab/taken")
    assert hub.repositories["lab/taken"] == {}


def test_without_a_token_it_says_how_to_log_in(run_dir, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/proc/self/no-token")
    with pytest.raises(HubError, match="no token for the hub: log in with `hf auth login`"):
        upload(run_dir, "lab/new")
    assert "lab/new" not in hub.repositories


@pytest.mark.usefixtures("hub")
def test_offline_and_with_a_wrong_name_it_asks_nobody(run_dir, monkeypatch):
    with pytest.raises(HubError, match="expected hf:OWNER/NAME"):
        upload(run_dir, "new")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="may not be used here"):
        upload(run_dir, "lab/new")


@pytest.mark.parametrize(
    ("status", "words"), [(403, "may not write there"), (401, "refuses your token")]
)
def test_a_hub_that_refuses_is_a_sentence(status, words, run_dir, hub):
    hub.refuse = status
    with pytest.raises(HubError, match=words):
        upload(run_dir, "lab/new")
    assert "lab/new" not in hub.repositories


def test_an_upload_that_breaks_off_leaves_no_empty_repository(run_dir, hub):
    hub.break_off = True
    with pytest.raises(HubError, match="not uploaded: the hub answered with status 400"):
        upload(run_dir, "lab/new")
    assert set(hub.repositories) == {"lab/taken"}
    assert [path.name for path in run_dir.parent.iterdir()] == ["made-up"]


def test_ctrl_c_leaves_no_empty_repository(run_dir, hub, monkeypatch):
    from huggingface_hub import HfApi

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HfApi, "upload_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upload(run_dir, "lab/new")
    assert set(hub.repositories) == {"lab/taken"}


@pytest.mark.usefixtures("hub")
def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached"):
        hub_upload.check_new_repository("lab/new")
