"""What holds for every test: no wall time is asserted, by hypothesis neither."""

from hypothesis import settings

settings.register_profile("hafen", deadline=None)
settings.load_profile("hafen")
