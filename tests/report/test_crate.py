"""The RO-Crate of made-up runs: what it holds, what it lacks and says so, and whether it is one."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from rocrate.rocrate import ROCrate

from prime_core.cli.main import main
from prime_core.report.crate.files import MAX_TABLE_BYTES, sort_files
from prime_core.run.atomic import write_json, write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, TableError, write_table
from prime_core.stages import crate, report
from tests.support.fake_run import make_run
from tests.support.shared_data import ROOT

METADATA = "ro-crate-metadata.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report and its crate, weights beside, and a link that leads out."""
    folder = tmp_path_factory.mktemp("runs")
    run_dir = make_run(folder / "finished")
    write_text(folder / "secret.csv", "not of the run")
    (run_dir / "report").mkdir()
    (run_dir / "report" / "metrics.csv.link").symlink_to(folder / "secret.csv")
    (run_dir / "elsewhere").symlink_to(folder)
    write_text(RunFiles(run_dir).policy(4) / "model.safetensors", "w" * 1000)
    write_responses(run_dir, 4, "19")
    write_responses(run_dir, 0, np.random.default_rng(0).bytes(2 * MAX_TABLE_BYTES).hex())
    report.run(run_dir)
    return run_dir


def write_responses(run_dir: Path, iteration: int, response: str) -> None:
    row = {
        **{"prompt_id": "p0", "sample": 0, "text": response, "finish_reason": "stop"},
        **{"response_length": 2, "outcome": 1.0, "verdict": "right", "extracted": "19"},
    }
    place = RunFiles(run_dir).evaluation(iteration, "validation").with_suffix(".parquet")
    write_table(place, [row], EVALUATION)


def graph(path: Path) -> dict[str, dict[str, Any]]:
    """Entities of a crate by their id."""
    with zipfile.ZipFile(path) as archive:
        entities = json.loads(archive.read(METADATA))["@graph"]
    return {entity["@id"]: entity for entity in entities}


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def text(path: Path, name: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode()


def test_it_packs_settings_versions_metrics_and_report_as_they_are(finished):
    packed = RunFiles(finished).crate
    for name in (
        "config.yaml",
        "provenance.json",
        "report/report.html",
        "report/metrics.csv",
        "report/evaluations.csv",
        "report/plots/accuracy-hours.svg",
        "evaluations/0004/validation.json",
    ):
        assert text(packed, name) == (finished / name).read_text(), name
    assert text(packed, "Snakefile") == (ROOT / "Snakefile").read_text()
    assert {"workflow/rules/evaluation.smk", "evaluations/0004/validation.parquet"} <= names(packed)


def test_it_states_the_licence_of_the_workflow_and_packs_its_text(finished):
    packed = RunFiles(finished).crate
    entities = graph(packed)
    spdx = "https://spdx.org/licenses/Apache-2.0"
    assert entities["./"]["license"] == entities["Snakefile"]["license"] == {"@id": spdx}
    assert entities[spdx]["name"] == "Apache-2.0"
    assert text(packed, "LICENSE") == (ROOT / "LICENSE").read_text()
    assert {"locks/gpu.txt", "locks/cpu.txt", "environment.yml"} <= names(packed)


def test_weights_tables_links_and_what_is_large_stay_outside_and_are_listed(finished):
    packed = RunFiles(finished).crate
    inside = names(packed)
    assert not [n for n in inside if n.startswith(("models", "iterations", "logs", "elsewhere"))]
    assert not [name for name in inside if "link" in name or "safetensors" in name]
    assert "evaluations/0000/validation.parquet" not in inside
    assert "not of the run" not in text(packed, "left-out.csv")
    left_out = pd.read_csv(io.StringIO(text(packed, "left-out.csv"))).set_index("folder")
    reasons = left_out["reason"].to_dict()
    assert reasons["iterations/0004/policy"] == "weights and training states are left out"
    assert reasons["evaluations/0000"] == f"larger than {MAX_TABLE_BYTES} bytes"
    assert reasons["."] == "a link"
    assert {"a link", "a table without rows"} == set(left_out.loc[["report"], "reason"])
    assert "report/reproduction.csv" not in inside  # of this run there is only its header
    assert left_out.loc["iterations/0004/policy", "num_bytes"] == 1000
    assert f"{left_out['num_files'].sum()} files of the run" in text(packed, "README.md")


def test_every_file_of_the_run_is_packed_or_listed(finished):
    packed, left_out = sort_files(finished)
    files = [path for path in finished.rglob("*") if path.is_symlink() or path.is_file()]
    visible = [
        path
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(finished).parts)
        and path != RunFiles(finished).crate
    ]
    assert len(packed) + left_out["num_files"].sum() == len(visible)


def test_every_file_in_it_is_described_and_every_description_has_its_file(finished):
    entities = graph(RunFiles(finished).crate)
    described = {key for key, entity in entities.items() if "File" in entity["@type"]}
    assert described == names(RunFiles(finished).crate) - {METADATA}
    assert all(entities[name]["encodingFormat"] for name in described)


def test_the_action_says_what_went_in_what_came_out_and_when(finished):
    entities = graph(RunFiles(finished).crate)
    action = entities["#run"]
    assert action["instrument"] == entities["./"]["mainEntity"] == {"@id": "Snakefile"}
    assert {"@id": "config.yaml"} in action["object"]
    results = {result["@id"] for result in action["result"]}
    assert {"report/report.html", "report/metrics.csv", "provenance.json"} <= results
    assert action["actionStatus"].endswith("/CompletedActionStatus")
    assert action["endTime"].endswith("+00:00")
    workflow = entities["Snakefile"]
    assert workflow["version"] == "0" * 40
    assert workflow["softwareRequirements"] == {"@id": "https://pypi.org/project/torch/"}
    assert entities["https://pypi.org/project/torch/"]["softwareVersion"] == "2.13"
    assert entities["#value-seed"]["value"] == "0"


def test_the_library_reads_it_back(finished):
    known = ROCrate(RunFiles(finished).crate)
    assert known.name == "PRIME run finished"
    assert known.mainEntity.id == "Snakefile"
    assert "4 of 4 iterations" in known.description


def test_a_run_cut_short_says_what_is_missing(tmp_path):
    run_dir = make_run(tmp_path / "half", iterations=2, planned=16, evaluated=(), benchmarks=False)
    RunFiles(run_dir).provenance.unlink()
    crate.run(run_dir)
    packed = RunFiles(run_dir).crate
    entities = graph(packed)
    for place in ("README.md", "description"):
        words = text(packed, place) if "." in place else entities["./"]["description"]
        for part in (
            "2 of 16 iterations",
            "No evaluation has finished yet",
            "provenance.json is absent",
            "report/report.html is absent.",
        ):
            assert part in words, place
    assert entities["#run"]["actionStatus"].endswith("/ActiveActionStatus")
    assert "startTime" not in entities["#run"]
    assert "output" not in entities["Snakefile"]
    assert "report/report.html" not in names(packed)


def test_a_damaged_file_is_named_and_the_last_crate_stays(finished, tmp_path):
    run_dir = tmp_path / "damaged"
    shutil.copytree(finished, run_dir, symlinks=True)
    before = RunFiles(run_dir).crate.read_bytes()
    RunFiles(run_dir).provenance.write_text("{")
    with pytest.raises(TableError, match=r"provenance\.json: not readable"):
        crate.run(run_dir)
    assert RunFiles(run_dir).crate.read_bytes() == before
    assert not list(run_dir.glob(".ro-crate*"))


def test_provenance_of_another_form_is_no_reason_to_fail(tmp_path):
    run_dir = make_run(tmp_path / "odd", iterations=1, planned=1, evaluated=(), benchmarks=False)
    write_json(RunFiles(run_dir).provenance, {"starts": ["?", {"versions": 3, "time": 4}]})
    crate.run(run_dir)
    assert graph(RunFiles(run_dir).crate)["Snakefile"]["version"] == "unknown"


def test_the_command_names_a_folder_that_is_no_run(tmp_path):
    done = CliRunner().invoke(main, ["crate", "--run", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "nowhere/config.yaml: no such file" in done.output


def spoilt(packed: Path, folder: Path, change: str) -> Path:
    """A crate unpacked, with one entity of its metadata taken away."""
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    metadata = json.loads((folder / METADATA).read_text())
    metadata["@graph"] = [entity for entity in metadata["@graph"] if entity["@id"] != change]
    (folder / METADATA).write_text(json.dumps(metadata))
    return folder


@pytest.mark.slow
def test_the_standards_validator_misses_nothing_required_and_little_recommended(
    finished, monkeypatch
):
    from tests.support.crate_validator import findings

    found = findings(RunFiles(finished).crate, monkeypatch, "RECOMMENDED")
    assert {finding.partition(":")[0] for finding in found} == {
        "process-run-crate-0.5_3.2",  # a URL of the code: it is not known
        "process-run-crate-0.5_5.1",  # of the types of the workflow, not of an entity of ours
        "process-run-crate-0.5_8.6",  # who ran it, the author and the publisher: not said
        "ro-crate-1.1_22.2",
        "ro-crate-1.1_22.3",
    }


def people() -> list[dict[str, Any]]:
    return [
        {
            "name": "Jo Doe",
            "orcid": "0000-0002-1825-0097",
            "affiliation": "University of Somewhere",
        },
        {"name": "Ann Other", "affiliation": "University of Somewhere"},
        {"name": "Third Hand"},
    ]


@pytest.mark.slow
def test_authors_of_the_settings_are_its_people(finished, tmp_path, monkeypatch):
    from tests.support.crate_validator import findings

    run_dir = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    config = yaml.safe_load(RunFiles(run_dir).config.read_text())
    config["reproduction"]["authors"] = people()
    write_text(RunFiles(run_dir).config, yaml.safe_dump(config))
    crate.run(run_dir)
    entities = graph(RunFiles(run_dir).crate)
    first, place = "https://orcid.org/0000-0002-1825-0097", {"@id": "#organization-1"}
    assert [one["@id"] for one in entities["./"]["author"]] == [first, "#author-2", "#author-3"]
    assert entities["#run"]["agent"] == {"@id": first}
    assert entities["./"]["publisher"] == place
    assert entities["#author-2"]["affiliation"] == place
    assert entities["#organization-1"]["name"] == "University of Somewhere"
    found = findings(RunFiles(run_dir).crate, monkeypatch, "RECOMMENDED")
    assert {finding.partition(":")[0] for finding in found} == {
        "process-run-crate-0.5_3.2",
        "process-run-crate-0.5_5.1",
        "ro-crate-1.1_30.2",  # the third author has no affiliation
        "ro-crate-1.1_30.3",
        "ro-crate-1.1_31.2",  # a URL of the affiliation
    }


@pytest.mark.slow
@pytest.mark.parametrize("entity", ["#run", "https://w3id.org/ro/wfrun/workflow/0.5"])
def test_the_validator_finds_what_is_not_there(finished, tmp_path, monkeypatch, entity):
    from tests.support.crate_validator import findings

    assert findings(spoilt(RunFiles(finished).crate, tmp_path, entity), monkeypatch)


@pytest.mark.slow
def test_a_crate_of_half_a_run_is_valid_too(tmp_path, monkeypatch):
    from tests.support.crate_validator import findings

    run_dir = make_run(tmp_path / "half", iterations=1, planned=16, evaluated=(), benchmarks=False)
    RunFiles(run_dir).provenance.unlink()
    crate.run(run_dir)
    assert findings(RunFiles(run_dir).crate, monkeypatch) == []
