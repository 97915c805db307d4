"""Identifiers as published: check characters, both flag conventions, GS1 keys in all their spellings."""

from __future__ import annotations

from datetime import date

import pytest

from collector.identity.numbers import gs1, isbt128, sec
from collector.identity.numbers.errors import NumberError
from collector.identity.numbers.isbt128 import Checked, Flags
from collector.identity.numbers.patients import PatientDataError, refuse_patient_data
from collector.identity.numbers.schemes import normal, readings_of

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*"


def naive(text: str) -> int:
    """S = sum of v * 2^n, n the position from the right starting at 1; c = (38 - S mod 37) mod 37."""
    total: int = sum(ALPHABET.index(one) * (1 << n) for n, one in enumerate(reversed(text), start=1))
    return (38 - total % 37) % 37


@pytest.mark.parametrize(
    ("text", "character", "value"),
    [
        ("G123498654321", "H", 17),
        ("G123489654321", "Y", 34),
        ("A999915000001", "M", 22),
        ("3000505", "B", 11),
    ],
)
def test_check_characters_as_published(text: str, character: str, value: int) -> None:
    assert isbt128.check_value(text) == naive(text)
    assert (isbt128.check_character(text), isbt128.check_value(text)) == (character, value)
    assert isbt128.checks(text + character)


def test_published_words_check() -> None:
    assert isbt128.checks("G123489654321Y")
    assert not isbt128.checks("G123489654321Z")


def test_every_single_error_and_adjacent_exchange_is_found() -> None:
    whole = "G123498654321H"
    for at, right in enumerate(whole):
        for wrong in ALPHABET[:36]:
            if wrong != right:
                assert not isbt128.checks(whole[:at] + wrong + whole[at + 1 :])
    for at in range(len(whole) - 1):
        if whole[at] != whole[at + 1]:
            assert not isbt128.checks(whole[:at] + whole[at + 1] + whole[at] + whole[at + 2 :])


@pytest.mark.parametrize(
    ("scanned", "flags", "checked"),
    [
        ("G123498654321", "", Checked.NOT),
        ("G1234 98 654321 H", "", Checked.CHARACTER),
        ("=G12349865432100", "00", Checked.NOT),
        ("=G12349865432177", "77", Checked.FLAGS),
        ("=G12349865432117", "77", Checked.FLAGS),
        ("=g12349865432106", "06", Checked.NOT),
    ],
)
def test_a_donation_in_every_spelling(scanned: str, flags: str, checked: Checked) -> None:
    found = isbt128.parse(scanned)
    assert (found.number, found.flags, found.checked) == ("G123498654321", flags, checked)
    assert (found.facility, found.year, found.printed) == ("G1234", "98", "G1234 98 654321 H")


def test_the_two_flag_conventions_are_told_apart_when_the_label_is_known() -> None:
    assert isbt128.parse("=G12349865432117", flags=Flags.BARE).checked is Checked.FLAGS
    assert isbt128.parse("=G12349865432117", flags=Flags.SIXTY_PLUS).checked is Checked.NOT
    assert isbt128.parse("=G12349865432177", flags=Flags.SIXTY_PLUS).checked is Checked.FLAGS
    with pytest.raises(NumberError, match="check value 18"):
        isbt128.parse("=G12349865432118", flags=Flags.BARE)


@pytest.mark.parametrize(
    ("scanned", "told"),
    [
        ("G123498654321X", "the check character is X, of G123498654321 it is H"),
        ("=G12349865432178", "check value 18"),
        ("O123498654321", "no donation number"),
        ("0123498654321", "no donation number"),
        ("G12349865432", "no donation number"),
        ("G1234986543210000", "no donation number"),
        ("", "no donation number"),
    ],
)
def test_wrong_donation_numbers_are_refused_in_words(scanned: str, told: str) -> None:
    with pytest.raises(NumberError, match=told):
        isbt128.parse(scanned)


def test_the_single_european_code() -> None:
    half = sec.donation_half("BE", "A317", "G123498654321")
    assert half == "BE00A317G123498654321"
    printed = f"SEC {half} A000123400120271231"
    code = sec.parse(printed)
    assert (code.country, code.establishment, code.donation) == ("BE", "00A317", "G123498654321")
    assert (code.coding, sec.coding_name(code), code.split) == ("A", "ISBT 128", "001")
    assert (code.expires, code.printed, len(code.value)) == (date(2027, 12, 31), printed, 40)
    never = sec.parse(f"{half}E000123400100000000")
    assert (never.expires, never.value[-8:]) == (None, "00000000")
    for wrong, told in (
        ("SEC BE00A317G12349865432", "donation half"),
        (f"{half}C000123400120271231", "product half"),
        (f"{half}A000123400120271331", "no date"),
    ):
        with pytest.raises(NumberError, match=told):
            sec.parse(wrong)
    with pytest.raises(NumberError, match="too long"):
        sec.donation_half("BE", "A317999", "1")


@pytest.mark.parametrize(
    ("written", "kind", "text"),
    [
        ("urn:epc:id:sscc:0614141.1234567890", "sscc", "106141412345678908"),
        ("urn:epc:id:sgtin:0614141.107346.2017", "sgtin", "10614141073464.2017"),
        ("01/10614141073464/21/2017", "sgtin", "10614141073464.2017"),
        ("(01)10614141073464(21)2017", "sgtin", "10614141073464.2017"),
        ("https://id.gs1.org/01/10614141073464/21/2017?17=271231", "sgtin", "10614141073464.2017"),
        ("]d2011061414107346417271231212017", "sgtin", "10614141073464.2017"),
        ("]C100106141412345678908", "sscc", "106141412345678908"),
        ("(01)04012345987652", "gtin", "04012345987652"),
        ("urn:epc:id:giai:4000001.111", "giai", "4000001111"),
        ("https://id.gs1.org/8004/4000001111", "giai", "4000001111"),
        ("]d28004FRZ-01\x1d2199", "giai", "FRZ-01"),
        ("(8003)04012345987652SHP7", "grai", "4012345987652.SHP7"),
        ("(414)4012345000009", "gln", "4012345000009"),
    ],
)
def test_gs1_keys_in_every_spelling(written: str, kind: str, text: str) -> None:
    key = gs1.parse(written)
    assert (key.kind, key.text) == (kind, text)
    assert readings_of(written)[-1] == text


def test_gs1_check_digits_as_published() -> None:
    assert gs1.check_digit("10614141234567890") == "8"
    assert gs1.check_digit("1061414107346") == "4"
    assert gs1.check_digit("0401234598765") == "2"


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("sscc", "106141412345678909", "it should be 8"),
        ("sscc", "10614141234567890", "18 digits"),
        ("gtin", "10614141073465", "it should be 4"),
        ("gtin", "106141410734a4", "8 or 12 or 13 or 14"),
        ("sgtin", "10614141073464", "serial"),
        ("gln", "4012345000001", "it should be 9"),
        ("giai", "", "1 to 30"),
        ("giai", "X" * 31, "1 to 30"),
        ("upc", "1", "no GS1 key"),
    ],
)
def test_wrong_gs1_keys_are_refused_in_words(kind: str, value: str, told: str) -> None:
    with pytest.raises(NumberError, match=told):
        gs1.of_kind(kind, value)


def test_text_that_is_no_element_string_is_refused() -> None:
    for text, told in (
        ("B-2026-0001", "no GS1 element string"),
        ("]d299123", "no identifier that is known"),
        ("(10)LOT-5", "no GS1 element string"),
        ("urn:epc:id:cpi:1.2.3", "no EPC urn"),
        ("https://id.gs1.org/99/1", "names a thing"),
    ):
        with pytest.raises(NumberError, match=told):
            gs1.parse(text)


def test_a_chain_of_identity_identifier_is_opaque_and_checked_schemes_are_not() -> None:
    assert normal("own", "COI-77 X") == "COI-77 X"
    assert normal("ISBT128-DIN", "=G12349865432177") == "G123498654321"
    assert normal("sscc", "1 0614141 234567890 8") == "106141412345678908"
    assert normal("giai", "urn:epc:id:giai:4000001.111") == "4000001111"
    assert normal("sec", "SEC BE00A317G123498654321 A000123400120271231").startswith("BE00A317")
    with pytest.raises(NumberError, match="is a SSCC, not a GTIN"):
        normal("gtin", "(00)106141412345678908")
    assert readings_of("COI-77") == ("COI-77",)
    assert readings_of("G1234 98 654321 H") == ("G1234 98 654321 H", "G123498654321")


@pytest.mark.parametrize(
    "body",
    [
        {"patient": "x"},
        {"number": "B-1", "Patient_Name": "x"},
        {"extra": [{"date-of-birth": "1980-01-01"}]},
        {"coi": {"scheme": "MRN", "value": "12"}},
        {"coi": {"scheme": "own", "value": "756.9217.0769.85"}},
        {"reason": "belongs to 7569217076985 by phone"},
    ],
)
def test_patient_data_is_refused_and_never_repeated(body: dict[str, object]) -> None:
    with pytest.raises(PatientDataError) as refused:
        refuse_patient_data(body)
    for secret in ("1980", "756", "9217"):
        assert secret not in str(refused.value)


def test_what_only_looks_like_it_is_let_through() -> None:
    refuse_patient_data({"number": "7569217076984", "agent": "a", "coi": {"scheme": "own", "value": "C"}})
    refuse_patient_data({"value": "175692170769851", "address_base": 0})
