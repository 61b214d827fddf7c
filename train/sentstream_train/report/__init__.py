"""HTML pages and terminal tables for evaluations, inspections, searches and the rest."""
