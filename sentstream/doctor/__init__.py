"""What can be said about an installation and the machine it is on, before anything is scored."""

from sentstream.doctor.examination import Report, examine
from sentstream.doctor.findings import Finding, Section, Verdict

__all__ = ["Finding", "Report", "Section", "Verdict", "examine"]
