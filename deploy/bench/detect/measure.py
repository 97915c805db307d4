"""`telomere bench detect`: the table of figures with their aims, then how each came about.

Owns the order of the benchmarks, the names of the figures and the document. Must not know how anything is
detected or scored.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.bench import machine
from deploy.bench.detect import batches, files, injection, nab, process, speed, ucr

COMMAND: Final = "telomere bench detect --json"
AIMS: Final[dict[str, str]] = {
    "nab_standard": ">= 69.8",
    "nab_us_a_row": "< 5",
    "nab_bytes_a_channel": "< 65,536",
    "ucr_recovered_share": ">= 0.5",
    "indpensim_temperature_k": "<= 0.1",
    "indpensim_ph": "<= 0.03",
    "indpensim_false_batches": "0",
    "skab_found_at_5": "> T2+SPE",
    "skab_found_at_1": "> T2+SPE",
    "tep_found_at_5": "> T2+SPE",
    "tep_found_at_1": "> T2+SPE",
    "faults_found": ">= 95",
    "faults_false_a_channel_month": "<= 1",
    "left_profile_times_faster": ">= 30",
    "left_profile_difference_max": "<= 1e-9",
    "default_set_ns": "<= 5",
    "default_set_with_hampel_ns": "<= 60",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where the data lies, and whether peers are measured."""

    data: Path | None = None
    seed: int | None = None
    """Of the injected faults; without it the configured one."""
    peers: bool = True

    @classmethod
    def quick(cls) -> Options:
        """As all: the benchmarks of detection are short; without the peers."""
        return cls(peers=False)


def measure(options: Options) -> dict[str, Any]:
    """All figures under their names, then how each came about. CommandError without data."""
    root = files.folder(options.data)
    config, named = files.config()
    environment = machine.environment()
    series = files.nab(root)
    parts: dict[str, Any] = {
        "nab": nab.measure(series, config["nab"], _say),
        "ucr": ucr.measure(files.ucr(root), config["ucr"], _say),
        "indpensim": batches.measure(files.indpensim(root), config["indpensim"], _say),
    }
    parts["tep"], parts["skab"] = process.measure(
        files.tennessee(root), files.skab(root), config["vessel"], _say
    )
    seed = config["injection"]["seed"] if options.seed is None else options.seed
    parts["faults"] = injection.measure(files.logs(root), config["injection"], seed, _say)
    parts["default_set"] = speed.default_set()
    if options.peers:
        parts["left_profile"] = speed.appends(config["left_profile"])
        parts["peers"] = speed.peers()
    return {
        **_figures(parts),
        "aims": AIMS,
        "compare": _compare(parts),
        "command": COMMAND,
        "configuration": named,
        "environment": environment,
        **parts,
    }


def _figures(parts: dict[str, Any]) -> dict[str, Any]:
    appends = parts.get("left_profile", {})
    return {
        "nab_standard": parts["nab"]["standard"],
        "nab_us_a_row": parts["nab"]["us_a_row"],
        "nab_bytes_a_channel": parts["nab"]["bytes_a_channel"],
        "ucr_recovered_share": parts["ucr"]["recovered_share"],
        "indpensim_temperature_k": parts["indpensim"]["temperature"]["mean"],
        "indpensim_ph": parts["indpensim"]["ph"]["mean"],
        "indpensim_false_batches": parts["indpensim"]["false_batches"],
        "skab_found_at_5": parts["skab"]["ours_0.05"]["found"],
        "skab_found_at_1": parts["skab"]["ours_0.01"]["found"],
        "tep_found_at_5": parts["tep"]["ours_0.05"]["found"],
        "tep_found_at_1": parts["tep"]["ours_0.01"]["found"],
        "faults_found": parts["faults"]["found"],
        "faults_false_a_channel_month": parts["faults"]["false_a_channel_month"],
        "left_profile_times_faster": appends.get("times_faster"),
        "left_profile_difference_max": appends.get("difference_max"),
        "default_set_ns": parts["default_set"]["ns"],
        "default_set_with_hampel_ns": parts["default_set"]["with_hampel_ns"],
    }


def _compare(parts: dict[str, Any]) -> dict[str, Any]:
    """What stands on the other side: baselines measured in this run, or published for these files."""
    return {
        "nab_standard": {
            "measured: nearest past value, standardised": parts["nab"]["baseline_ewma"],
            "published for the 29 development files: Numenta HTM (sees each file's range)": 69.8,
        },
        "ucr_recovered_share": {
            "measured: left matrix profile alone finds": f"{parts['ucr']['alone']} of {parts['ucr']['files']}"
        },
        "skab_found_at_5": {"measured: T2+SPE": parts["skab"]["t2_spe_0.05"]["found"]},
        "skab_found_at_1": {"measured: T2+SPE": parts["skab"]["t2_spe_0.01"]["found"]},
        "tep_found_at_5": {"measured: T2+SPE": parts["tep"]["t2_spe_0.05"]["found"]},
        "tep_found_at_1": {"measured: T2+SPE": parts["tep"]["t2_spe_0.01"]["found"]},
    }


def table(document: dict[str, Any]) -> str:
    """The figures beside their aims."""
    lines = [f"configuration {document['configuration']}, {document['command']}"]
    for name, aim in document["aims"].items():
        value = document[name]
        other = "; ".join(f"{what} {number}" for what, number in document["compare"].get(name, {}).items())
        lines.append(f"{name:<30} {'not measured' if value is None else value!s:>14}  aim {aim:<12} {other}")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
