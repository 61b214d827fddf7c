"""Pages and tables for the terminal of what training makes: evaluations, inspections, searches …"""
