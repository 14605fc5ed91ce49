"""The run of a real pretrained model: it can be planned, and its two descriptions are one."""

import re
import shlex

import pytest
import yaml

from prime_core.cli.main import main
from prime_core.launch.arguments import asked_settings
from prime_core.settings.reading import flatten
from tests.support.shared_data import ROOT

CONFIG = "configs/smollm2_gsm8k.yaml"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PRIME_SITE", "no-such-site.yaml")


def gpu_arguments() -> list[str]:
    """Arguments of the command in docs/gpu.md."""
    guide = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    [command] = re.findall(rf"prime run (--configfile {CONFIG} (?:.*\\\n)*.*)", guide)
    return shlex.split(command.replace("\\\n", " "))


def gpu_comments() -> dict[str, object]:
    """Values by dotted key that the config's comments name for one GPU."""
    path: list[str] = []
    found: dict[str, object] = {}
    for line in (ROOT / CONFIG).read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)(\w+):.*?(?:# one GPU: (.+?)\.(?: |$)|# one GPU: (\S+)$|$)", line)
        if match:
            indent, key, before_text, alone = match.groups()
            path = [*path[: len(indent) // 2], key]
            value = before_text or alone
            if value:
                found[".".join(path)] = yaml.safe_load(value)
    return found


def test_the_comments_and_the_command_for_one_gpu_say_the_same():
    settings = flatten(asked_settings(gpu_arguments()).model_dump(mode="json"))
    base = flatten(asked_settings(["--configfile", CONFIG]).model_dump(mode="json"))
    changed = {key: value for key, value in settings.items() if value != base[key]}
    changed.pop("run")
    assert changed == gpu_comments()


@pytest.mark.parametrize("arguments", [["--configfile", CONFIG], gpu_arguments()])
def test_it_fits_on_one_gpu_before_anything_is_fetched(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--model-size", "smollm2-135m", *arguments])
    assert (ended.value.code or 0) == 0, capsys.readouterr()
    assert capsys.readouterr().out.rstrip().endswith("It fits.")
