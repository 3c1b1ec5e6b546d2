from hypothesis import settings

# A busy machine is no failure: the time of one example is not what these tests are about.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")
