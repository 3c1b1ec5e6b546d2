"""What a measurement is.

Its protocol, the windows that are accepted, the reference network and the record.
"""
