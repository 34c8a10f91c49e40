"""Is this file what was packaged, for this base, and does it still compute the same?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpactl.errors import BaseError, IntegrityError, UsageError
from tpactl.formats.identity import differences
from tpactl.package import canary
from tpactl.package.read import OpenedPackage, open_package
from tpactl.package.strict import GET_IT_AGAIN


@dataclass(frozen=True)
class Check:
    """One thing that was looked at and found right."""

    name: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """A package that passed; what did not pass was raised."""

    package: OpenedPackage
    base: Literal["matched", "not checked"]
    canary: canary.CanaryResult | None
    """``None`` where no base was given."""
    checks: tuple[Check, ...]


def verify(
    file: Path,
    base_ref: str | None = None,
    *,
    digest: str | None = None,
    on_check: Callable[[Check], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Return the verification of ``file``.

    Args:
        file: the package.
        base_ref: the base it must belong to; without it only the file itself is checked.
        digest: the manifest's digest as it was published.
        on_check: called after each check that passed.
        on_progress: called with (stage, done, total).

    Raises:
        UsageError: ``digest`` is none.
        IntegrityError: content changed, missing or added; another ``digest``; the canary differs.
        BaseError: it belongs to another base; the details name what differs.
    """
    checks: list[Check] = []

    def passed(name: str, detail: str) -> None:
        checks.append(Check(name, detail))
        if on_check is not None:
            on_check(checks[-1])

    report_progress = on_progress or (lambda stage, done, total: None)
    if digest is not None:
        _check_digest_form(digest)
    report_progress("check the file", 0, 3)
    package = open_package(file)
    record = package.record
    passed("archive", f"an OCI image layout with {len(package.parts)} parts and nothing else")
    passed("digests", f"all {len(package.parts)} parts, configuration, manifest, index")
    passed("format", f"version {record.format_version}")
    passed("adapter", f"{len(package.config.target_modules)} modules, "
           f"{package.config.num_parameters:,} parameters, tensors as configured")  # fmt: skip
    if digest is not None:
        if package.digest != digest:
            raise IntegrityError(
                f"{file}: the manifest's digest is {package.digest}; expected {digest}",
                GET_IT_AGAIN,
            )
        passed("published digest", digest)
    if base_ref is None:
        return Verification(package, "not checked", None, tuple(checks))
    report_progress("identify the base", 1, 3)
    _check_base(package, base_ref)
    passed("base", f"{base_ref} is {record.base.digest[:19]}, {len(record.base.tensors)} tensors")
    report_progress("compute the canary", 2, 3)
    result = _run_canary(package, base_ref)
    canary.check(result)
    passed("canary", f"{result.frames} frames at most {result.max_difference:.1g} apart "
           f"({result.tolerance:g} allowed), same greedy path; the adapter changes logits by up to "
           f"{result.adapter_effect:.2g}")  # fmt: skip
    return Verification(package, "matched", result, tuple(checks))


def _check_digest_form(digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise UsageError(
            f"--digest is {digest!r}; it must be sha256: and 64 hexadecimal digits",
            "copy it from the release record, or from: tpactl verify FILE.tpa --json",
        )


def _check_base(package: OpenedPackage, base_ref: str) -> None:
    from tpactl.bases.identity import fingerprint
    from tpactl.bases.load import resolve
    from tpactl.bases.rightful import way_to_base

    record = package.record
    actual = fingerprint(resolve(base_ref))
    if actual == record.base:
        return
    lines = differences(record.base, actual) or ["the stored identity contradicts itself"]
    raise BaseError(
        f"{record.name} {record.version} belongs to the base {record.base_ref} "
        f"({record.base.digest[:19]}); {base_ref} is another one ({actual.digest[:19]})",
        way_to_base(record.base_ref, record.base.digest),
        lines,
    )


def _run_canary(package: OpenedPackage, base_ref: str) -> canary.CanaryResult:
    from tpactl.bases.load import load_base

    base = load_base(base_ref)
    with tempfile.TemporaryDirectory(prefix="tpactl-") as folder:
        return canary.compute(package.canary, base, package.extract(Path(folder)))
