"""This machine as a phone: a runner process on one core, and quiet windows for its measurements."""
