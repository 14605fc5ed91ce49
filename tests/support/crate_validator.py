"""The RO-Crate community's validator (roc-validator) on a crate, without the network.

It would fetch the JSON-LD context of RO-Crate 1.1. It is given the one that the library `rocrate`
brings: of a later version, whose terms mean the same but for OF_1_1.
"""

import json
from importlib.resources import files
from pathlib import Path

import requests
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

CONTEXT_URL = "https://w3id.org/ro/crate/1.1/context"
OF_1_1 = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}


def findings(crate: Path, monkeypatch, severity: str = "REQUIRED") -> list[str]:
    """What the validator finds against Workflow Run RO-Crate 0.5, as "check: message (entity)"."""
    monkeypatch.setattr(HttpRequester, "get", _get, raising=False)
    settings = services.ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier="workflow-run-crate",
        requirement_severity=models.Severity[severity],
    )
    result = services.validate(settings)
    assert len(result.executed_checks) > 60
    return sorted(
        f"{issue.check.identifier}: {issue.message} ({issue.violatingEntity})"
        for issue in result.get_issues()
    )


def _get(_self, url, *_args, **_kwargs) -> requests.Response:
    assert url.rstrip("/") == CONTEXT_URL, f"no network in tests: {url}"
    known = json.loads(files("rocrate").joinpath("data/ro-crate.jsonld").read_text("utf-8"))
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/ld+json"
    response._content = json.dumps({"@context": known["@context"] | OF_1_1}).encode()
    return response
