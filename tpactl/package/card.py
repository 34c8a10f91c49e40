"""The model card of a package: ``README.md``, the same for the same run, report and text."""

from __future__ import annotations

import json

from tpactl.adapters.methods import find
from tpactl.adapters.settings import shape
from tpactl.formats.adapter import Shape
from tpactl.formats.files import to_builtins
from tpactl.formats.report import Rate, Report
from tpactl.formats.run import RunConfig, RunRecord

_TO_WRITE = """## Intended use, limits, licence

Nothing was said when this package was made: no intended use, no known limits, no licence, no owner.
Write them down and package again with `--card FILE.md`; `tpactl init` gives a form to fill in.
"""


def write_card(
    name: str,
    version: str,
    base_ref: str,
    run: RunRecord,
    report: Report | None,
    text: str | None,
    decoder: str,
) -> str:
    """Return the card.

    Args:
        name: ``department/task``.
        version: of the package.
        base_ref: without a machine's folders.
        run: where the numbers on data and training come from.
        report: the evaluation, ``None`` for "unevaluated".
        text: the department's own words, Markdown.
        decoder: the base's: ``ctc``, ``rnnt`` or ``tdt``.
    """
    parts = [
        _front_matter(base_ref, report, decoder),
        f"# {name} {version}\n",
        _summary(base_ref, run, decoder),
        _evaluation(report),
        _data(run),
        _training(run),
        _lower_headings(text) if text else _TO_WRITE,
        "## How to use it\n\n"
        "```\n"
        f"tpactl verify FILE.tpa --base {base_ref}\n"
        f"tpactl transcribe AUDIO --base {base_ref} --package FILE.tpa\n"
        "```\n",
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _front_matter(base_ref: str, report: Report | None, decoder: str) -> str:
    tags = ["speech-recognition", f"conformer-{decoder}", "two-parallel-adapter"]
    if report is None:
        tags.append("unevaluated")
    return "\n".join(
        [
            "---",
            f"base_model: {json.dumps(base_ref)}",
            "library_name: tpactl",
            "pipeline_tag: automatic-speech-recognition",
            "tags:",
            *(f"- {tag}" for tag in tags),
            "---",
            "",
        ]
    )


def _summary(base_ref: str, run: RunRecord, decoder: str) -> str:
    untrained = (
        "\n**Untrained.** No step of the training was better than the base alone, so the adapter "
        "changes nothing.\n"
        if run.best_step == 0
        else ""
    )
    what = _what(run.config, decoder)
    return (
        f"{what} for the speech model `{base_ref}`: {run.cost.trained_parameters:,} trained "
        f"parameters beside the {run.cost.base_parameters:,} of the base, which is unchanged and "
        f"not in this package.\n\nIt works on exactly this base: `{run.base_digest}`.\n"
        f"{untrained}"
    )


def _what(config: RunConfig, decoder: str) -> str:
    """Name the parts that were trained."""
    method, trained = find(config.method), config.decoder
    head = "CTC head" if decoder == "ctc" else "joint output layer"
    if method.section is None:
        return f"A trained {head}" if trained == "head" else "Trained decoder modules"
    if trained in ("none", []):
        return method.title
    return f"{method.title} and " + (
        f"a {head}" if trained == "head" else _count(len(trained), "decoder module")
    )


def _evaluation(report: Report | None) -> str:
    if report is None:
        return (
            "## Evaluation\n\n**Unevaluated.** No test set was measured for this package. "
            "The dev figures below chose the training step, so they are too good.\n"
        )
    speakers = "" if report.speakers is None else f" by {_count(report.speakers, 'speaker')}"
    intervals = (
        f"Intervals: {report.interval.confidence:.0%}, {report.interval.method}, "
        f"{report.interval.resamples} resamples by {report.interval.unit}."
        if any(system.wer.low is not None for system in report.systems)
        else "Too little speech for intervals."
    )
    lines = [
        "## Evaluation",
        "",
        f"Split `{report.split}` of `{_one_line(report.data_path)}` (`{report.data_digest}`): "
        f"{_count(report.utterances, 'utterance')}{speakers}, "
        f"{report.duration_s / 60:.1f} minutes. "
        f"Text rules: {report.normaliser.name} {report.normaliser.version}. {intervals}",
        "",
        "| System | WER | CER | Substitutions | Deletions | Insertions | Trained parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for system in report.systems:
        trained = "" if system.trained_parameters is None else f"{system.trained_parameters:,}"
        lines.append(
            f"| {_cell(system.name)} | {_rate(system.wer)} | {_rate(system.cer)} "
            f"| {system.wer.substitutions} | {system.wer.deletions} | {system.wer.insertions} "
            f"| {trained} |"
        )
    for leak in report.leaks:
        lines += [
            "",
            f"**{_cell(leak.system)} was trained on part of this test**: "
            f"{_count(leak.utterances, 'utterance')} share a speaker, words or audio with its "
            "training, so its figures are too good.",
        ]
    return "\n".join(lines) + "\n"


def _data(run: RunRecord) -> str:
    named = len(run.train_speakers)
    speakers = _count(named, "speaker") if named else "speakers not named"
    return (
        "## Training data\n\n"
        f"{_count(len(run.train_audio_digests), 'recording')}, {speakers}; "
        f"data set `{run.data_digest}`. The audio and its words are not in this package; digests "
        "of both are, so that test sets can be checked for overlap.\n"
    )


def _training(run: RunRecord) -> str:
    training, cost = run.config.training, run.cost
    rows = [
        ("Method", run.config.method),
        *_shape(run.config),
        ("Learning rate", _number(training.learning_rate)),
        ("Steps, epochs", f"{cost.steps}, {cost.epochs:.1f}"),
        ("Audio seen", f"{cost.audio_hours_seen:.2f} h"),
        ("Best step", str(run.best_step)),
        ("Dev WER, base → this", f"{run.base_dev_wer:.1%} → {run.best_dev_wer:.1%}"),
        ("Time, device", f"{cost.seconds:.0f} s, {cost.device}"),
        ("Seed", str(training.seed)),
        ("Trained with", f"tpactl {run.tpactl_version}"),
    ]
    lines = ["## Training", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows]
    return "\n".join(lines) + "\n"


def _shape(config: RunConfig) -> list[tuple[str, str]]:
    method = find(config.method)
    if method.section is None:
        return []
    decided = shape(method, getattr(config, method.section))
    if not isinstance(decided, Shape):
        return [(f"`{method.section}.{key}`", _list(v)) for key, v in to_builtins(decided).items()]
    rows = [
        ("Bottleneck width", str(decided.bottleneck_dim)),
        ("Input, activation", f"{decided.input}, {decided.activation}"),
        ("Scale", str(decided.scale)),
        ("Blocks", _list(decided.blocks)),
    ]
    if (decided.form, decided.sites) != ("parallel", ("ffn1", "ffn2")):
        rows.insert(0, ("Form, sites", f"{decided.form}, {_list(decided.sites)}"))
    return rows


def _list(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _rate(rate: Rate) -> str:
    shown = f"{rate.rate:.1%}"
    if rate.low is not None and rate.high is not None:
        shown += f" ({rate.low:.1%} to {rate.high:.1%})"
    return shown


def _number(value: float | None) -> str:
    return "chosen by tpactl" if value is None else f"{value:g}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _lower_headings(text: str) -> str:
    """Return the department's text with its headings below the card's title."""
    lines, in_code = [], False
    for line in text.strip("\n").split("\n"):
        if line.startswith("```"):
            in_code = not in_code
        lines.append("#" + line if line.startswith("#") and not in_code else line)
    return "\n".join(lines) + "\n"
