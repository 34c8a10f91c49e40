"""What a bare ``tpactl`` shows: the lifecycle in one picture, and the step that comes next here."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from rich.text import Text

from tpactl import __version__
from tpactl.cli.console import next_step, out

STEPS = (
    ("prepare", "audio folder -> data set"),
    ("train", "data set + base -> run with an adapter"),
    ("eval", "base, adapters -> word error rates"),
    ("gate", "report + policy -> may it be released?"),
    ("package", "run -> one .tpa file"),
    ("verify", "every digest, and the right base"),
    ("transcribe", "audio -> text, adapters switched"),
)


def show() -> None:
    """Print the picture and the next command for the current folder."""
    out.print()
    out.print(Text.assemble(("tpactl ", "bold"), (__version__, "quiet")))
    out.print("speech adapters, from a department's audio to a verified package")
    out.print()
    for number, (command, meaning) in enumerate(STEPS):
        arrow = "   " if number == 0 else "-> "
        out.print(Text.assemble((arrow, "quiet"), (f"{command:<12}", "command"), (meaning, "")))
    command, why = next_command(Path.cwd())
    next_step(command, why)
    out.print(Text.assemble(("       tpactl --help", "command"), ("   all commands", "quiet")))


def next_command(folder: Path) -> tuple[str, str]:
    """Return the command that comes next in ``folder`` and the reason, from the files it holds."""
    try:
        places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    except OSError:
        places = []

    def newest(name: str) -> Path | None:
        found = [match for place in places for match in place.glob(name)]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def shown(path: Path) -> str:
        return quote(path.relative_to(folder).as_posix())

    data, run = newest("dataset.json"), newest("run.json")
    report, package = newest("report.json"), newest("*.tpa")
    if package:
        return f"tpactl verify {shown(package)}", "a package is here"
    policy, decision = newest("policy.yaml"), newest("gate.json")
    if run and report and policy and not decision:
        return (
            f"tpactl gate --report {shown(report.parent)} --policy {shown(policy)}",
            "an evaluated run and a policy are here",
        )
    if run and report:
        return (
            f"tpactl package {shown(run.parent)} --name DEPARTMENT/TASK --version 0.1.0 "
            f"--eval {shown(report.parent)} --out FILE.tpa",
            "an evaluated run is here",
        )
    if run and data:
        return (
            f"tpactl eval --data {shown(data.parent)} --split test --run {shown(run.parent)} "
            "--out report",
            "a run is here",
        )
    if data:
        return f"tpactl train --data {shown(data.parent)} --out run", "a data set is here"
    if newest("metadata.csv") or newest("metadata.jsonl"):
        found = newest("metadata.csv") or newest("metadata.jsonl")
        assert found is not None
        return f"tpactl prepare {shown(found.parent)} --out data", "an audio folder is here"
    return "tpactl quickstart", "every step on the shipped example, 3 minutes"
