"""Patient data is refused: names of fields, schemes and forms of numbers that belong to a person.

Owns the lists and the sentence that says what to send in their place. A therapy is known here by an
opaque identifier; who the patient is stays in the hospital's or the sponsor's system.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from collector.identity.numbers import gs1
from collector.identity.numbers.errors import NumberError

FIELDS_REFUSED: Final = frozenset(
    {
        *("patient", "patientid", "patientname", "patientnumber", "recipient", "recipientname", "donorname"),
        *("firstname", "lastname", "surname", "givenname", "familyname", "maidenname", "initials"),
        *("birthdate", "dateofbirth", "dob", "birthday", "age", "sex", "gender", "race", "ethnicity"),
        *(
            "mrn",
            "medicalrecordnumber",
            "hospitalnumber",
            "casenumber",
            "nhsnumber",
            "ssn",
            "ahv",
            "ahvnumber",
        ),
        *("socialsecuritynumber", "insurancenumber", "passport", "nationalid"),
        *("address", "street", "postcode", "zipcode", "phone", "telephone", "mobile", "email"),
        *("diagnosis", "disease", "physicianname", "nextofkin"),
    }
)
"""Without case, spaces, `_` and `-`."""
SCHEMES_REFUSED: Final = frozenset(
    {"mrn", "ssn", "ahv", "ahvn13", "nhs", "nhsnumber", "patient", "patientid", "kvnr"}
)
_AHV: Final = re.compile(r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", re.ASCII)
_INSTEAD: Final = (
    "send an opaque identifier (`coi`: scheme, issuer, value); who the patient is stays where it is"
)


class PatientDataError(NumberError):
    """Something that names a person; it is refused before anything is stored, and not repeated."""


def refuse_patient_data(document: Any) -> None:
    """PatientDataError for a field, scheme or number anywhere in a body that belongs to a person.

    The message names the place and never the value: refusals are logged.
    """
    for path, key, value in _walk(document, ""):
        if _plain(key) in FIELDS_REFUSED:
            raise PatientDataError(f"{path}: patient data is refused; {_INSTEAD}")
        if key == "scheme" and isinstance(value, str) and _plain(value) in SCHEMES_REFUSED:
            raise PatientDataError(f"{path}: identifiers of persons are refused; {_INSTEAD}")
        if isinstance(value, str) and _of_a_person(value):
            raise PatientDataError(
                f"{path}: this has the form of a person's number and is refused; {_INSTEAD}"
            )


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]", "", name).lower()


def _of_a_person(text: str) -> bool:
    for match in _AHV.finditer(text):
        digits = match[0].replace(".", "")
        whole = match.start() == 0 or not text[match.start() - 1].isdigit()
        ends = match.end() == len(text) or not text[match.end()].isdigit()
        if whole and ends and gs1.check_digit(digits[:-1]) == digits[-1]:
            return True
    return False


def _walk(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            yield place, str(key), inner
            yield from _walk(inner, place)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            place = f"{path}.{at}"
            yield place, "", inner
            yield from _walk(inner, place)
