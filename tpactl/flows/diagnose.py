"""Looks at the machine and the installation: what tpactl needs, what is there, what mends a gap."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from tpactl import __version__, shipped
from tpactl.errors import TpactlError
from tpactl.flows import requirements
from tpactl.formats.files import Record

SCHEMA_VERSION = 1

GB = 1e9
LOW_MEMORY_BYTES = 3 * GB
LOW_DISK_BYTES = 2 * GB

MODULES = {"pyyaml": "yaml"}
"""Distribution to the module whose import proves that its binary parts load, where the names differ
by more than a dash."""
LOADED_APART = ("torchaudio",)
"""Not needed where it does not load."""


class Check(Record, kw_only=True):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "broken"]
    """``note``: an optional thing is missing or something is scarce; ``broken``: needed."""
    value: str
    fix: str | None = None
    reason: str | None = None
    """What the library itself said; for reports, not for the table."""


class Diagnosis(Record, kw_only=True):
    """What ``tpactl doctor`` prints."""

    schema_version: int = SCHEMA_VERSION
    ok: bool
    checks: list[Check]


def diagnose(folder: Path) -> Diagnosis:
    """Return every check; ``folder`` is where disk space is measured."""
    checks = [
        *_interpreter(),
        *_packages(),
        *_extras(),
        *_audio(),
        *_devices(),
        *_memory(),
        _disk(folder),
        *_shipped_files(),
    ]
    return Diagnosis(ok=all(check.state != "broken" for check in checks), checks=checks)


def _ok(name: str, value: str) -> Check:
    return Check(name=name, state="ok", value=value)


def _interpreter() -> Iterator[Check]:
    yield _ok("tpactl", f"{__version__} ({Path(shipped.__file__).parent})")
    yield _ok("python", f"{platform.python_version()} ({sys.executable})")
    yield _ok("system", f"{platform.system()} {platform.release()} {platform.machine()}")


def _packages() -> Iterator[Check]:
    try:
        from tpactl.bases.quiet import quiet

        quiet()  # also hides a torchaudio that does not load from transformers
    except ImportError:
        pass  # found again below, by name
    try:
        packages = requirements.needed()
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            name="packages",
            state="note",
            value="tpactl runs from a folder, uninstalled: what it needs is unknown",
            fix="run in that folder: pip install -e .",
        )
        return
    for package in packages:
        if package.name not in LOADED_APART:
            yield _package(package)


def _package(package: requirements.Package) -> Check:
    name, wanted = package.name, package.name + package.wanted
    if package.installed is not None and not package.fits:
        return Check(
            name=name,
            state="broken",
            value=f"{package.installed}; tpactl needs {package.wanted}",
            fix=f"run: pip install '{wanted}'",
        )
    module = MODULES.get(name.lower(), name.lower().replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken library fails in any way it likes
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        fix = f"run: pip install --force-reinstall '{wanted}'"
        return Check(name=name, state="broken", value=reason, fix=fix)
    return _ok(name, package.installed or "installed, version unknown")


def _extras() -> Iterator[Check]:
    try:
        found = requirements.extras()
    except importlib.metadata.PackageNotFoundError:
        return  # said already
    for extra, packages in sorted(found.items()):
        name = f"extra {extra}"
        lacking = [package for package in packages if not package.fits]
        if not lacking:
            yield _ok(name, ", ".join(f"{each.name} {each.installed}" for each in packages))
            continue
        said = (f"{p.name} {p.installed} (needs {p.wanted})" if p.installed else f"no {p.name}"
                for p in lacking)  # fmt: skip
        yield Check(
            name=name,
            state="note",
            value=", ".join(said),
            fix=f"if you want it, run: pip install 'tpactl[{extra}]'",
        )


def _audio() -> Iterator[Check]:
    try:
        import soundfile

        formats = soundfile.available_formats()
        common = ", ".join(name for name in ("WAV", "FLAC", "OGG", "MP3") if name in formats)
        rest = f"{common} and {len(formats) - common.count(',') - 1} more"
        yield _ok("libsndfile", f"{soundfile.__libsndfile_version__}, reads {rest}")
    except Exception:  # reported by _packages already
        pass
    yield _torchaudio()
    extra = importlib.util.find_spec("av") is not None
    program = shutil.which("ffmpeg")
    if extra or program:
        found = [f"PyAV {importlib.metadata.version('av')}"] if extra else []
        yield _ok("M4A, AAC, WebM", " and ".join([*found, *([program] if program else [])]))
    else:
        yield Check(
            name="M4A, AAC, WebM",
            state="note",
            value="not readable: neither PyAV nor the ffmpeg program is here",
            fix="if you have such files, run: pip install 'tpactl[av]'",
        )


def _torchaudio() -> Check:
    try:
        from tpactl.audio.torchaudio import available

        loads, detail = available()
    except ImportError as error:
        loads, detail = False, str(error)
    if loads:
        return _ok("torchaudio", detail)
    return Check(
        name="torchaudio",
        state="note",
        value="does not load beside this torch; soxr is used instead",
        reason=detail,
    )


def _devices() -> Iterator[Check]:
    yield _ok("processor", f"{os.cpu_count()} cores")
    try:
        import torch
    except Exception:  # reported by _packages already
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(index)
            yield _ok(f"cuda:{index}", f"{seen.name}, {seen.total_memory / GB:.0f} GB")
        yield _kernels()
    elif torch.backends.mps.is_available():
        yield _ok("mps", "Apple GPU")
    else:
        built = (
            f"torch is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else ("torch is a CPU build")
        )
        yield Check(name="accelerator", state="note", value=f"none, the CPU is used ({built})")


def _kernels() -> Check:
    from tpactl.bases.fast.kernels import why_not

    reason = why_not()
    if not reason:
        return _ok("kernels", "Triton's run; a TPA trains by them")
    return Check(
        name="kernels",
        state="note",
        value="Triton's do not run; a TPA trains several times slower",
        reason=reason,
    )


def _memory() -> Iterator[Check]:
    try:
        page, total = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return
    available = page * free
    try:  # Linux counts what caches would give back
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    except OSError:
        pass
    value = f"{available / GB:.1f} GB available of {page * total / GB:.1f} GB"
    if available < LOW_MEMORY_BYTES:
        yield Check(
            name="memory",
            state="note",
            value=value,
            fix="close other programs, or train with smaller batches: --set training.batch_s=30",
        )
    else:
        yield _ok("memory", value)


def _disk(folder: Path) -> Check:
    usage = shutil.disk_usage(folder)
    value = f"{usage.free / GB:.1f} GB free of {usage.total / GB:.1f} GB at {folder}"
    if usage.free < LOW_DISK_BYTES:
        return Check(name="disk", state="note", value=value, fix="free disk space")
    return _ok("disk", value)


def _shipped_files() -> Iterator[Check]:
    reinstall = "install tpactl again"
    try:
        from tpactl.bases.identity import fingerprint

        identity = fingerprint(shipped.starter_base())
        yield _ok("starter base", f"{identity.num_parameters:,} parameters, {identity.digest[:19]}")
    except (TpactlError, ImportError) as error:
        yield Check(name="starter base", state="broken", value=str(error), fix=reinstall)
    parts: dict[str, Callable[[], Path]] = {
        "example department": shipped.example_department,
        "templates": shipped.templates,
    }
    for name, where in parts.items():
        if where().is_dir():
            yield _ok(name, str(where()))
        else:
            yield Check(name=name, state="broken", value=f"missing: {where()}", fix=reinstall)
