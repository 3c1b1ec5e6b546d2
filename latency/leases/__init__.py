"""Leases: one measurement at a time on a phone, between processes of a user and between hosts."""
