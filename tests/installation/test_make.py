"""What `make install` does on machines of several kinds."""

import subprocess

import pytest

from tests.support.shared_data import ROOT

PIP = """#!/bin/sh
echo "$@" >> "$PIP_CALLS"
for word in "$@"; do case "$word" in $PIP_HAS) exit 0;; esac; done
exit 1
"""


@pytest.fixture
def checkout(tmp_path):
    """A fresh checkout, as far as make looks at it."""
    for name in ("Makefile", "pyproject.toml", "locks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def make(checkout, *arguments, **environment):
    command = ["make", "--no-print-directory", *arguments]
    path = f"{checkout / 'bin'}:/usr/bin:/bin"
    environment = {"PATH": path, **{name: str(value) for name, value in environment.items()}}
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def script(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_install_takes_the_lock_of_its_device(device, checkout):
    lines = make(checkout, "--dry-run", f"DEVICE={device}", "install")
    other = {"cpu": "gpu", "gpu": "cpu"}[device]
    assert f"-r locks/{device}.txt -r locks/test.txt --editable ." in lines
    assert f"-r locks/{other}.txt" not in lines
    assert ("whl/cpu" in lines) == (device == "cpu")


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "gpu"), (False, "cpu")])
def test_install_looks_for_a_gpu(has_gpu, device, checkout):
    if has_gpu:
        script(checkout / "bin" / "nvidia-smi", "#!/bin/sh\n")
    assert f"-r locks/{device}.txt" in make(checkout, "--dry-run", "install")


def test_what_was_installed_stays_whatever_the_machine_has(checkout):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("bin/python", ".installed-gpu"):
        (checkout / ".venv" / name).touch()
    assert make(checkout, "--dry-run", "run").splitlines() == ["snakemake"]


@pytest.mark.parametrize(
    ("has", "calls"),
    [
        ("torch*+cpu", ["plain"]),
        ("--index-url", ["plain", "PyTorch's index"]),
        ("-c", ["plain", "PyTorch's index", "CUDA"]),
    ],
)
def test_torch_for_cpus_comes_from_the_first_place_that_has_it(has, calls, checkout):
    script(checkout / ".venv" / "bin" / "python", "#!/bin/sh\nexit 1\n")
    script(checkout / ".venv" / "bin" / "pip", PIP)
    log = checkout / "calls"
    said = make(checkout, "torch-cpu", PIP_CALLS=log, PIP_HAS=has, TORCH_CPU_INDEX="place")
    kinds = {"--index-url place": "PyTorch's index", "-c locks/gpu.txt": "CUDA", "": "plain"}
    lines = log.read_text().splitlines()
    assert [next(kinds[words] for words in kinds if words in line) for line in lines] == calls
    assert ("CUDA are downloaded instead" in said) == (calls[-1] == "CUDA")


@pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cpu"])
def test_torch_that_is_there_is_not_asked_for_again(version, checkout):
    script(checkout / ".venv" / "bin" / "python", f"#!/bin/sh\necho {version}\n")
    assert make(checkout, "torch-cpu") == ""


@pytest.mark.parametrize(
    ("answer", "warned"),
    [("570.86.15", True), ("580.65.06", False), ("NVIDIA-SMI has failed", False)],
)
def test_a_driver_that_is_too_old_is_named_before_anything_is_downloaded(answer, warned, checkout):
    script(checkout / "bin" / "nvidia-smi", f"#!/bin/sh\necho '{answer}'\n")
    said = make(checkout, "driver")
    assert ("needs driver 580 or later, and this machine has 570" in said) == warned
    assert bool(said) == warned


def test_a_python_that_no_lock_serves_is_refused(checkout):
    script(checkout / "bin" / "python3.14", "#!/bin/sh\nexit 1\n")
    command = ["make", "PYTHON=python3.14", "install-cpu"]
    environment = {"PATH": f"{checkout / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert not (checkout / ".venv").exists()
