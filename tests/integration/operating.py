"""A queue with jobs of every kind on a real Redis, for what looks at them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.job import Job, JobStatus

from falq.admission import Admission, Grant
from falq.calling import new_job_id
from falq.enqueue import NewJob, enqueue
from falq.files.spec import OutputSpec
from falq.journal import Journal
from falq.limits import Limits
from falq.phases import Phase
from falq.settings import Settings
from workers.building import build_engine
from workers.rq_glue import Ending

FLUX = "sandbox/flux/dev"
WIDE = Limits(max_concurrent=20, start_interval_s=0, rate_per_min=60_000, burst=1000)


@dataclass
class Queues:
    """What callers and workers do, without processes."""

    redis: Redis
    environ: Mapping[str, str]
    out: Path

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environ)

    @property
    def journal(self) -> Journal:
        return Journal(self.redis, self.settings.account)

    @property
    def admission(self) -> Admission:
        return Admission(self.redis, self.settings.account)

    def enqueue(
        self, arguments: Mapping[str, Any], *, queue: str = "q", model_id: str = FLUX,
        limits: Limits = WIDE,
    ) -> str:  # fmt: skip
        job_id = new_job_id()
        options = {"output": OutputSpec(directory=str(self.out)).to_dict(), "poll_interval_s": 5.0}
        new = NewJob(
            job_id=job_id, account=self.settings.account, queue=queue, skill="falq",
            model_id=model_id, arguments=dict(arguments), options=options, mode="sync",
            priority="normal", limits=limits, job_timeout_s=60, fingerprint=job_id, fresh=True,
        )  # fmt: skip
        enqueue(self.redis, new)
        return job_id

    def work(self) -> None:
        """Let a worker do what may start."""
        engine = build_engine(self.settings, self.redis, concurrency=4, burst=True)
        asyncio.run(engine.run())

    def start(self, **arguments: Any) -> Grant:
        """Enqueue a job and hold it as a worker does that has just begun."""
        job_id = self.enqueue(arguments or {"prompt": "held"})
        grants = self.admission.admit("host.1.abc", 1, register=False).grants
        assert [grant.job_id for grant in grants] == [job_id]
        return grants[0]

    def end(self, grant: Grant, phase: Phase, **fields: Any) -> None:
        """End a held job with an outcome of one's own."""
        outcome = fields.pop("outcome", {"status": "FAILED"})
        submitting = {"submits": 1, "submitting_at": 1.0}
        self.journal.advance(grant.job_id, grant.token, Phase.SUBMITTING, fields=submitting)
        if phase == Phase.DONE:
            self.journal.advance(grant.job_id, grant.token, Phase.DOWNLOADING, fields={})
        self.journal.advance(grant.job_id, grant.token, phase, fields=fields, outcome=outcome)


def failure(job: Job, execution: Execution, message: str) -> Ending:
    """Give what a worker shows to RQ's tools of a job that failed."""
    return Ending(job=job, execution=execution, status=JobStatus.FAILED, error=message)
