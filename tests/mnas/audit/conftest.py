from tests.mnas.audit.arranged import arranged

__all__ = ["arranged"]
