"""Files of a call: what a result holds, fetched and saved safely; what a call needs, uploaded."""
