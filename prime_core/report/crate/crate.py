"""The record of a run as a Workflow Run RO-Crate: one zip for an archive, a paper, a colleague.

In: the folder of a run, finished or not. Out: ro-crate.zip: settings, provenance, report, figures
and the workflow's own files, and ro-crate-metadata.json, which says what they are and how they were
made (https://w3id.org/ro/wfrun/workflow/0.5). What is missing or left out is said in its README.
"""

from __future__ import annotations

import io
import re
import tomllib
from datetime import UTC, datetime
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from prime_core.report.crate.files import Packed, sort_files
from prime_core.report.crate.people import add_people
from prime_core.report.crate.readme import left_out_line, readme
from prime_core.report.tables.collect import RunTables
from prime_core.run.atomic import atomic_path
from prime_core.run.layout import RunFiles
from prime_core.run.provenance import code_commit
from prime_core.run.tables import read_json
from prime_core.runtime.repository import REPOSITORY

# A Workflow Run Crate is a crate of the other two kinds as well, and must name all three.
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
WORKFLOW_FILES = (
    "workflow/rules/*.smk",
    "workflow/schemas/*.json",
    "workflow/report/*.rst",
    "locks/*.txt",
    "environment.yml",
    "pyproject.toml",
)
INPUTS = ("seed", "model.path", "data.train", "data.validation", "init_from")
OUTPUTS = {
    "report": "report/report.html",
    "metrics": "report/metrics.csv",
    "evaluations": "report/evaluations.csv",
}


def write_crate(run: RunTables, files: RunFiles, missing: list[str]) -> None:
    """Write the crate of a run. missing: sentences on what the run has not written.

    Raises FileNotFoundError where the workflow's own files are not beside the package.
    """
    crate = make_crate(run, files, missing)
    with atomic_path(files.crate) as temporary:
        crate.write_zip(temporary)


def make_crate(run: RunTables, files: RunFiles, missing: list[str]) -> ROCrate:
    """The crate in memory; `write_crate` writes it."""
    # The version that the profiles build on; the library's default is a later one.
    crate = ROCrate(version="1.1")
    packed, left_out = sort_files(files.root)
    absent = [path for path in OUTPUTS.values() if not (files.root / path).exists()]
    missing = [*missing, *(f"{path} is absent." for path in absent)]
    starts = _starts(files)
    crate.name = f"PRIME run {run.name}"
    crate.description = _description(run, missing, left_out_line(left_out))
    for identifier, (name, version) in PROFILES.items():
        profile = {"@type": "CreativeWork", "name": name, "version": version}
        crate.root_dataset.append_to("conformsTo", _context(crate, identifier, profile))
    workflow = _add_workflow(crate, starts)
    crate.license = workflow["license"] = _licence(crate)
    entities = {file.crate_path: _add_file(crate, file) for file in packed}
    _add_action(crate, run, workflow, entities, _times(starts, packed))
    text = io.StringIO(readme(run, missing, left_out, code_commit(), starts))
    about = {"name": "README", "encodingFormat": "text/markdown", "about": {"@id": "./"}}
    crate.add_file(text, "README.md", properties=about)
    table = io.StringIO(left_out.to_csv(index=False))
    crate.add_file(
        table,
        "left-out.csv",
        properties={
            "name": "left-out.csv",
            "description": "Files of the run that this crate leaves out, by folder, and why.",
            "encodingFormat": "text/csv",
        },
    )
    return crate


def _description(run: RunTables, missing: list[str], left_out: str) -> str:
    finished = f"{run.num_done} of {run.num_planned} iterations"
    text = f"Reinforcement learning with PRIME (arXiv 2502.01456): {finished} of {run.name}."
    return " ".join([text, *missing, left_out])


def _starts(files: RunFiles) -> list[dict[str, Any]]:
    """What provenance.json says of each start of the workflow; nothing where it is absent."""
    known = _mapping(read_json(files.provenance) if files.provenance.exists() else {})
    starts = known.get("starts")
    return (
        [start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else []
    )


def _mapping(value: Any) -> dict[str, Any]:
    """A value from a user's file that should be a mapping; empty where it is not."""
    # Provenance of another version is no reason to have no record of the run.
    return value if isinstance(value, dict) else {}


def _add_workflow(crate: ROCrate, starts: list[dict[str, Any]]) -> Any:
    last = starts[-1] if starts else {}
    versions = _mapping(last.get("versions"))
    commit = last.get("git_commit")
    dirty = last.get("git_dirty")
    changed = ", with uncommitted changes" if dirty else ""
    if dirty is None:
        changed = "; whether it had uncommitted changes is not known"
    made_by = f"Last started from commit {commit}{changed}." if commit else ""
    # The checkout's files as they are now, which may be of a later commit: the README compares.
    main = REPOSITORY / "Snakefile"
    workflow = crate.add_workflow(
        main,
        main.name,
        main=True,
        lang="snakemake",
        lang_version=str(versions.get("snakemake", "unknown")),
        properties={
            "name": "PRIME on Slurm",
            "description": "Process Reinforcement through Implicit Rewards (PRIME) as a Snakemake "
            f"workflow. {made_by}".strip(),
            "version": str(commit or versions.get("prime-on-slurm", "unknown")),
            "encodingFormat": "text/plain",
            "conformsTo": {"@id": WORKFLOW_PROFILE},
        },
    )
    _context(
        crate,
        WORKFLOW_PROFILE,
        {"@type": "CreativeWork", "name": "Bioschemas ComputationalWorkflow", "version": "1.0"},
    )
    for pattern in WORKFLOW_FILES:
        for path in sorted(REPOSITORY.glob(pattern)):
            crate_path = path.relative_to(REPOSITORY).as_posix()
            part = _add_file(crate, Packed(path, crate_path, "A file of the workflow."))
            workflow.append_to("hasPart", part)
    software = [_software(crate, str(name), str(version)) for name, version in versions.items()]
    if software:
        workflow["softwareRequirements"] = software[0] if len(software) == 1 else software
    return workflow


def _software(crate: ROCrate, name: str, version: str) -> ContextEntity:
    # The address is the entity's id, which must be a valid URL; names come from provenance.json.
    url = f"https://pypi.org/project/{re.sub(r'[^A-Za-z0-9._-]', '-', name)}/"
    facts = {"@type": "SoftwareApplication", "name": name, "softwareVersion": version, "url": url}
    return _context(crate, url, facts)


def _licence(crate: ROCrate) -> ContextEntity:
    """The licence of the workflow, by its SPDX address; its text is packed as LICENSE."""
    _add_file(crate, Packed(REPOSITORY / "LICENSE", "LICENSE", "Licence of the workflow's files."))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    facts = {
        "@type": "CreativeWork",
        "name": project["license"],
        "description": "Licence of the workflow. The run's own files are its authors', who may "
        "choose another.",
    }
    return _context(crate, f"https://spdx.org/licenses/{project['license']}", facts)


def _add_file(crate: ROCrate, file: Packed) -> Any:
    facts = {
        "name": file.crate_path,
        "description": file.about,
        "encodingFormat": file.encoding,
        "contentSize": str(file.source.stat().st_size),
    }
    return crate.add_file(file.source, file.crate_path, properties=facts)


def _add_action(
    crate: ROCrate, run: RunTables, workflow: Any, entities: dict[str, Any], times: dict[str, str]
) -> None:
    """The run as an action: what went in, what came out, when."""
    inputs = [_input_file(crate, workflow, entities["config.yaml"])]
    inputs += [
        _input_value(crate, workflow, key, run.settings[key])
        for key in INPUTS
        if run.settings.get(key) is not None
    ]
    for name, path in OUTPUTS.items():
        # An unfinished run lacks some: a parameter must not point to a file that is not packed.
        if path in entities:
            parameter = _parameter(crate, f"#output-{name}", name, "File", entities[path])
            workflow.append_to("output", parameter)
    done = run.num_done >= run.num_planned
    # The profile recommends completed or failed; an unfinished run is neither.
    status = "CompletedActionStatus" if done else "ActiveActionStatus"
    action = crate.add_action(
        workflow,
        "#run",
        object=inputs,
        result=[entity for path, entity in entities.items() if path != "config.yaml"],
        properties={
            "name": f"Run {run.name}",
            "description": f"{run.num_done} of {run.num_planned} iterations are finished.",
            "actionStatus": f"http://schema.org/{status}",
            **times,
        },
    )
    crate.root_dataset["mentions"] = action
    add_people(crate, run.settings, action)


def _input_file(crate: ROCrate, workflow: Any, entity: Any) -> Any:
    parameter = _parameter(crate, "#input-config", "config", "File", entity)
    workflow.append_to("input", parameter)
    return entity


def _input_value(crate: ROCrate, workflow: Any, key: str, value: Any) -> ContextEntity:
    facts = {"@type": "PropertyValue", "name": key, "value": str(value)}
    entity = _context(crate, f"#value-{key}", facts)
    workflow.append_to("input", _parameter(crate, f"#input-{key}", key, "PropertyValue", entity))
    return entity


def _parameter(crate: ROCrate, identifier: str, name: str, kind: str, example: Any) -> Any:
    parameter = crate.add_formal_parameter(name, kind, identifier)
    parameter["workExample"] = example
    example["exampleOfWork"] = parameter
    return parameter


def _times(starts: list[dict[str, Any]], packed: list[Packed]) -> dict[str, str]:
    """When the run was first started, and when its last figure or page was written."""
    written = [file.source.stat().st_mtime for file in packed if file.crate_path != "config.yaml"]
    first = starts[0].get("time") if starts else None
    times = {}
    if isinstance(first, str):
        times["startTime"] = first.replace("Z", "+00:00")
    if written:
        times["endTime"] = datetime.fromtimestamp(int(max(written)), UTC).isoformat()
    return times


def _context(crate: ROCrate, identifier: str, facts: dict[str, Any]) -> ContextEntity:
    return crate.add(ContextEntity(crate, identifier, properties=facts))
