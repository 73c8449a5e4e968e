"""falq: paid generative-media calls made by agents, queued, limited, never paid twice."""
