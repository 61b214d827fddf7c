"""CPU and memory from /proc, on x86 and ARM, and without a /proc."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from sentstream import session
from sentstream.cgroup import cpu_quota, memory_limit
from sentstream.doctor import machine
from sentstream.doctor.machine import memory, parse_cpuinfo, parse_meminfo, processor, simd

X86 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9R14
stepping\t: 1
cpu MHz\t\t: 3699.998
flags\t\t: fpu vme sse sse2 ht syscall fma avx avx2 avx512f avx512dq avx512_vnni avx512_bf16
bugs\t\t: sysret_ss_attrs

processor\t: 1
model name\t: AMD EPYC 9R14
flags\t\t: fpu
"""
OLD_X86 = "model name\t: Intel(R) Xeon(R) CPU E5-2670\nflags\t\t: fpu sse sse2 avx aes\n"
XEON = "model name\t: Intel(R) Xeon(R) 8488C\nflags\t\t: sse2 avx2 avx512f avx_vnni amx_tile amx_int8\n"
ARM = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes sha1 crc32 atomics asimdhp cpuid asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""
PI = """\
processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid
CPU part\t: 0xd08

Hardware\t: BCM2835
Revision\t: c03111
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
"""
MEMORY = """\
MemTotal:       24684084 kB
MemFree:         8683196 kB
MemAvailable:   20889412 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""


class TestCpuinfo:
    @pytest.mark.parametrize(
        ("text", "name", "kinds"),
        [
            (X86, "AMD EPYC 9R14", {"AVX2": True, "AVX-512": True, "VNNI": True, "AMX": False}),
            (
                OLD_X86,
                "Intel(R) Xeon(R) CPU E5-2670",
                {"AVX2": False, "AVX-512": False, "VNNI": False, "AMX": False},
            ),
            (XEON, "Intel(R) Xeon(R) 8488C", {"AVX2": True, "AVX-512": True, "VNNI": True, "AMX": True}),
            (ARM, None, {"NEON": True, "dot product": True, "I8MM": True, "SVE": True}),
            (PI, "BCM2835", {"NEON": True, "dot product": False, "I8MM": False, "SVE": False}),
            ("cpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported", {}),
            ("", None, {}),
            ("no colon\n: no key\nmodel\t: 17\n", None, {}),
        ],
    )
    def test_name_and_instructions(self, text: str, name: str | None, kinds: dict[str, bool]) -> None:
        found, flags = parse_cpuinfo(text)
        assert found == name
        assert simd(flags) == kinds

    def test_first_processor_counts(self) -> None:
        assert "avx2" in parse_cpuinfo(X86)[1]


class TestMeminfo:
    def test_total_and_available(self) -> None:
        assert parse_meminfo(MEMORY) == (24684084 * 1024, 20889412 * 1024)

    @pytest.mark.parametrize("text", ["", "MemTotal: many kB\nMemAvailable: 1\n", "MemTotal 5 kB"])
    def test_missing_values_stay_unknown(self, text: str) -> None:
        assert parse_meminfo(text) == (None, None)


@pytest.fixture(name="proc")
def _proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of our own: /proc and control groups in a directory, empty at first; 8 cores."""
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    folders = tmp_path / "cgroup", tmp_path / "self"
    for module in (machine, session):
        monkeypatch.setattr(module, "cpu_quota", partial(cpu_quota, *folders))
    monkeypatch.setattr(machine, "memory_limit", partial(memory_limit, *folders))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cgroup").mkdir()
    return tmp_path


class TestProcessor:
    def test_whole_machine(self, proc: Path) -> None:
        (proc / "cpuinfo").write_text(X86)
        section = processor()
        line, instructions = section.findings
        assert (line.verdict, line.text) == ("ok", "AMD EPYC 9R14, 8 cores, no quota: score runs 8 threads")
        assert (instructions.verdict, instructions.text) == ("ok", "AVX2, AVX-512, VNNI; no AMX")
        assert section.facts["affinity"] == section.facts["cores"] == section.facts["threads"] == 8
        assert section.facts["quota"] is None

    def test_half_a_core_gives_one_worker_and_a_note(self, proc: Path) -> None:
        (proc / "cpuinfo").write_text(X86)
        (proc / "cgroup" / "cpu.max").write_text("50000 100000\n")
        section = processor()
        line = section.findings[0]
        assert (line.verdict, line.exit_code) == ("note", 0)
        assert line.text.endswith("8 cores, a quota of 0.5: score runs 1 thread")
        assert line.hint is not None
        assert (section.facts["quota"], section.facts["threads"]) == (0.5, 1)

    def test_quota_of_several_cores(self, proc: Path) -> None:
        (proc / "cgroup" / "cpu.max").write_text("250000 100000\n")
        line = processor().findings[0]
        assert line.verdict == "ok"
        assert line.text.endswith("a quota of 2.5: score runs 3 threads")

    def test_cpu_affinity(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
        line = processor().findings[0]
        assert line.text.endswith("8 cores, 1 of them for this process, no quota: score runs 1 thread")

    def test_without_proc_affinity_and_control_groups(
        self, proc: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        section = processor()
        assert section.facts["affinity"] is None
        assert section.facts["threads"] == 8
        assert section.facts["name"]
        assert section.facts["simd"] == {}
        assert section.findings[1].text == "this system does not report the instructions of its processor"
        assert {finding.verdict for finding in section.findings} == {"ok"}

    def test_unknown_number_of_cores(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: None)
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        assert "an unknown number of cores, no quota: score runs 1 thread" in processor().findings[0].text

    def test_no_avx2_is_a_note(self, proc: Path) -> None:
        (proc / "cpuinfo").write_text(OLD_X86)
        line = processor().findings[1]
        assert (line.verdict, line.text) == (
            "note",
            "none that is relevant; no AVX2, no AVX-512, no VNNI, no AMX",
        )


class TestMemory:
    def test_no_limit(self, proc: Path) -> None:
        (proc / "meminfo").write_text(MEMORY)
        section = memory()
        assert section.findings[0].text == "23.5 GiB, 19.9 GiB available, no limit"
        assert section.findings[0].verdict == "ok"
        assert section.facts["limit"] is None

    def test_small_limit_gives_a_note(self, proc: Path) -> None:
        (proc / "meminfo").write_text(MEMORY)
        (proc / "cgroup" / "memory.max").write_text(f"{2**28}\n")
        line = memory().findings[0]
        assert (line.verdict, line.exit_code) == ("note", 0)
        assert line.text.endswith("limited to 0.2 GiB")
        assert "0.5 GiB" in (line.hint or "")

    def test_sufficient_limit(self, proc: Path) -> None:
        (proc / "meminfo").write_text(MEMORY)
        (proc / "cgroup" / "memory.max").write_text(f"{2**30}\n")
        assert memory().findings[0].verdict == "ok"

    def test_without_proc_sysconf_is_used(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert memory().facts["total"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        monkeypatch.delattr(os, "sysconf")
        section = memory()
        assert section.facts == {"total": None, "available": None, "limit": None}
        assert section.findings[0].text == "its size is unknown, no limit"
