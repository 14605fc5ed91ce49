"""Who made a run, as its RO-Crate says it: people and where they work (`reproduction.authors`)."""

from __future__ import annotations

from itertools import count, takewhile
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate


def add_people(crate: ROCrate, settings: dict[str, Any], action: Any) -> None:
    """Name the authors; the first is the action's agent, the first affiliation the publisher.

    settings: by dotted keys; `reproduction.authors.1.name` is the first author's name.
    """
    # Flattened lists are numbered from one and say nowhere how long they are.
    keys = (f"reproduction.authors.{number}" for number in count(1))
    named = takewhile(lambda key: settings.get(f"{key}.name"), keys)
    people = [_person(crate, key, settings) for key in named]
    if not people:
        return
    crate.root_dataset["author"] = people
    action["agent"] = people[0]
    publishers = [person["affiliation"] for person in people if person.get("affiliation")]
    if publishers:
        crate.root_dataset["publisher"] = publishers[0]


def _person(crate: ROCrate, key: str, settings: dict[str, Any]) -> Any:
    orcid, employer = settings.get(f"{key}.orcid"), settings.get(f"{key}.affiliation")
    number = key.rpartition(".")[2]
    identifier = f"https://orcid.org/{orcid}" if orcid else f"#author-{number}"
    facts = {"@type": "Person", "name": str(settings[f"{key}.name"])}
    person = crate.add(ContextEntity(crate, identifier, properties=facts))
    if employer:
        person["affiliation"] = _organization(crate, employer)
    return person


def _organization(crate: ROCrate, name: str) -> Any:
    """One entity for all who work there."""
    known = (entity for entity in crate.contextual_entities if entity.type == "Organization")
    for entity in known:
        if entity["name"] == name:
            return entity
    number = sum(entity.type == "Organization" for entity in crate.contextual_entities) + 1
    facts = {"@type": "Organization", "name": name}
    return crate.add(ContextEntity(crate, f"#organization-{number}", properties=facts))
