"""Checks of the installation and the machine, before anything is scored."""

from sentstream.doctor.examination import Report, examine
from sentstream.doctor.findings import Finding, Section, Verdict

__all__ = ["Finding", "Report", "Section", "Verdict", "examine"]
