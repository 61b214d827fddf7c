"""Processor and memory, and how much of them this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from sentstream.cgroup import cpu_quota, memory_limit
from sentstream.doctor.findings import Finding, Section
from sentstream.session import usable_cpus

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
#: Instruction sets that matrix products use, and their flags in /proc/cpuinfo.
_KINDS = {
    "x86": {
        "AVX2": ("avx2",),
        "AVX-512": ("avx512f",),
        "VNNI": ("avx512_vnni", "avx_vnni"),
        "AMX": ("amx_tile",),
    },
    "arm": {"NEON": ("asimd", "neon"), "dot product": ("asimddp",), "I8MM": ("i8mm",), "SVE": ("sve",)},
}
_GIB = 2**30
#: The peak memory of ``sentstream score`` with the default model (see README), with a margin.
_ENOUGH = 512 * 2**20


def processor() -> Section:
    """The processor, the usable cores, and the default number of threads of ``score``."""
    name, flags = parse_cpuinfo(_read(_CPUINFO))
    name = name or platform.processor() or platform.machine()
    cores = os.cpu_count()
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    quota, threads = cpu_quota(), usable_cpus()
    kinds = simd(flags)
    facts = {
        "name": name,
        "machine": platform.machine(),
        "cores": cores,
        "affinity": affinity,
        "quota": quota,
        "threads": threads,
        "simd": kinds,
    }
    words = f"{name}, {_counted(cores, 'core')}"
    words += f", {affinity} of them for this process" if affinity not in (None, cores) else ""
    words += f", a quota of {quota:g}" if quota is not None else ", no quota"
    words += f": score runs {_counted(threads, 'thread')}"
    slow = quota is not None and quota < 1
    findings = [
        Finding(
            "processor",
            "note" if slow else "ok",
            words,
            "the quota pauses it in every period; give the container at least one full core"
            if slow
            else None,
        ),
        _simd_finding(kinds),
    ]
    return Section("processor", facts, findings)


def parse_cpuinfo(text: str) -> tuple[str | None, frozenset[str]]:
    """Parse ``/proc/cpuinfo``: return the processor's name, if it has one, and its flags.

    >>> name, flags = parse_cpuinfo("model name\\t: A Processor\\nflags\\t\\t: fpu avx2\\n")
    >>> name, sorted(flags)
    ('A Processor', ['avx2', 'fpu'])
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if value.strip():
            fields.setdefault(key.strip().lower(), value.strip())
    name = next((fields[key] for key in ("model name", "hardware", "model", "cpu") if key in fields), None)
    if name is not None and name.isdecimal():  # the model number of an x86 processor without a name
        name = None
    return name, frozenset((fields.get("flags") or fields.get("features") or "").split())


def simd(flags: frozenset[str]) -> dict[str, bool]:
    """Return which instruction sets a processor with these flags has; empty if that is unknown."""
    family = "x86" if "sse2" in flags else "arm" if flags & {"asimd", "neon"} else None
    if family is None:
        return {}
    return {kind: not flags.isdisjoint(names) for kind, names in _KINDS[family].items()}


def _simd_finding(kinds: dict[str, bool]) -> Finding:
    if not kinds:
        return Finding("instructions", "ok", "this system does not report the instructions of its processor")
    has, lacks = ([kind for kind, found in kinds.items() if found is present] for present in (True, False))
    words = ", ".join(has) or "none that is relevant"
    words += f"; no {', no '.join(lacks)}" if lacks else ""
    if "AVX2" in lacks:
        return Finding(
            "instructions", "note", words, "without AVX2, matrix products are several times slower"
        )
    return Finding("instructions", "ok", words)


def memory() -> Section:
    """The machine's memory and the limit of the control group."""
    total, available = parse_meminfo(_read(_MEMINFO))
    total = total if total is not None else _physical()
    limit = memory_limit()
    facts = {"total": total, "available": available, "limit": limit}
    words = "its size is unknown" if total is None else _gib(total)
    words += f", {_gib(available)} available" if available is not None else ""
    words += f", limited to {_gib(limit)}" if limit is not None else ", no limit"
    least = min((size for size in (total, available, limit) if size is not None), default=_ENOUGH)
    if least < _ENOUGH:
        hint = f"scoring with the default model takes up to about {_gib(_ENOUGH)}"
        return Section("memory", facts, [Finding("memory", "note", words, hint)])
    return Section("memory", facts, [Finding("memory", "ok", words)])


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """Parse ``/proc/meminfo``: return the total and the available memory in bytes.

    >>> parse_meminfo("MemTotal:   2048 kB\\nMemFree:  1 kB\\nMemAvailable:  1024 kB\\n")
    (2097152, 1048576)
    """
    sizes: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number, _, unit = rest.strip().partition(" ")
        if number.isdecimal() and unit == "kB":
            sizes[name] = int(number) * 1024
    return sizes.get("MemTotal"), sizes.get("MemAvailable")


def _physical() -> int | None:
    """The memory in bytes, for a machine without /proc."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such function, or no such name
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _counted(number: int | None, thing: str) -> str:
    return f"an unknown number of {thing}s" if number is None else f"{number} {thing}{'s' * (number != 1)}"
