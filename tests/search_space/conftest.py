from hypothesis import settings

# No deadline: these tests do not measure time, and the machine may be busy.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")
