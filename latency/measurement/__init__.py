"""What a measurement is: its protocol, the windows that are accepted, the reference network and the record."""
