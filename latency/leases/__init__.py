"""Leases: one measurement at a time on a phone.

Between processes of a user, and between hosts.
"""
