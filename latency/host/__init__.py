"""This machine as a phone.

A runner process on one core, and quiet windows for its measurements.
"""
