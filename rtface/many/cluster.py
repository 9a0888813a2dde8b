"""Videos tracked on a cluster through Ray; it has to see the same files under the same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtface.many.plan import Job, Outcome
from rtface.many.workers import ONE_THREAD, track_or_say
from rtface.types import UserError

_LOOK_EVERY_S = 0.5
#: a node may go away: its videos are tracked again elsewhere
_RETRIES = 2


def run_cluster(
    jobs: Sequence[Job],
    address: str,
    workers: int,
    on_done: Callable[[Outcome], None],
    stop_asked: Callable[[], bool] = lambda: False,
) -> bool:
    """Track videos on a cluster, one core each; False if ``stop_asked`` came first.

    Parameters
    ----------
    jobs : sequence of Job
    address : str
        Of a running cluster; ``local``: one of ``workers`` cores is started here and ended again.
    workers : int

    Raises
    ------
    UserError
        Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray; pip install 'rtface[cluster]'") from None
    environment = {"env_vars": ONE_THREAD}
    quiet = {"log_to_driver": False, "configure_logging": False, "runtime_env": environment}
    try:
        if address == "local":
            ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"--ray {address}: no cluster answers there ({why})") from None
    try:
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(track_or_say)
        waiting = {remote.remote(job): job for job in jobs}
        while waiting:
            if stop_asked():
                return False
            ready, _ = ray.wait(list(waiting), timeout=_LOOK_EVERY_S)
            for one in ready:
                job = waiting.pop(one)
                try:
                    outcome = ray.get(one)
                except ray.exceptions.RayError as error:
                    why = str(error).partition("\n")[0]
                    outcome = Outcome(job.video, job.folder, fault=f"{job.video}: {why}")
                on_done(outcome)
    finally:
        ray.shutdown()
    return True
