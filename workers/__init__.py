"""The processes that carry jobs out: the asyncio RQ worker and its life as a daemon."""
