from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from omen.v1 import ledger_service_pb2 as ledger_pb
from omen_cli.check.verdict import Figure, Verdict, check_limits, concluded
from omen_cli.options import Output, Servers
from omen_rpc.errors import CallError
from reconcile.v1 import reconcile_service_pb2 as pb


async def reconcile(
    *,
    warn_age_s: Annotated[
        float | None, Parameter(help="Warn when something is unproven and the last proof is this old.")
    ] = 300.0,
    crit_age_s: Annotated[float | None, Parameter(help="Alarm when it is this old.")] = 3600.0,
    warn_missing: Annotated[float | None, Parameter(help="Warn when the last round left so many missing.")] = 1.0,
    crit_missing: Annotated[float | None, Parameter(help="Alarm when it left so many.")] = 1000.0,
    servers: Servers | None = None,
    output: Output = "text",
) -> int:
    """
    Check that the reconciler keeps up: what is missing, what is unproven and since when, failures, a pause.

    While everything is proven, it does not matter how long ago that was.

    Example: omen check reconcile --crit-age-s 7200
    """
    check_limits(warn_age_s, crit_age_s, "age-s")
    check_limits(warn_missing, crit_missing, "missing")

    async def checking(verdict: Verdict) -> None:
        async with (servers or Servers()).reconcile_client() as reconciler:
            info, overview = await reconciler.info(), await reconciler.overview()
            states = {each.partition_date: each async for each in reconciler.states()}
        partitions = await known(servers or Servers(), verdict)
        unproven = behind(partitions, states)
        proofs = [each.last_reconcile_at.ToDatetime(UTC) for each in states.values()]
        last = max(proofs, default=info.started_at.ToDatetime(UTC))
        age_s = (datetime.now(UTC) - last).total_seconds() if unproven else 0.0
        limits = (warn_age_s, crit_age_s) if unproven else (None, None)
        missing = sum(each.missing_count for each in states.values())
        verdict.measure(Figure("missing", missing, warn_missing, crit_missing), f"{missing:,} signals are missing")
        verdict.measure(Figure("unproven", unproven), "")
        verdict.measure(
            Figure("age_s", age_s, *limits),
            f"{unproven:,} records are unproven, and the last proof is {age_s:,.0f} s old",
        )
        for state in states.values():
            if state.status == pb.RECONCILE_STATUS_FAILED:
                verdict.alarm(f"{state.partition_date} failed: {state.error_message or state.reason}")
        if overview.paused:
            verdict.warn("reconciling is paused")
        verdict.text = f"{len(states):,} partitions, {missing:,} signals missing, {unproven:,} unproven"

    return await concluded(output, "reconcile", checking)


async def known(servers: Servers, verdict: Verdict) -> Sequence[ledger_pb.Partition]:
    """
    Return the ledger's partitions; without OMEN nobody knows whether something is unproven.
    """
    try:
        async with servers.omen_client() as omen:
            return [each async for each in omen.partitions()]
    except CallError as error:
        verdict.warn(f"OMEN does not say what there is to prove: {error.message}")
        return ()


def behind(partitions: Sequence[ledger_pb.Partition], states: Mapping[str, pb.ReconcileState]) -> int:
    """
    Return how many records no round has proven to be with RiskCast.
    """
    count = 0
    for partition in partitions:
        state = states.get(partition.partition)
        through = max(state.verified_through if state else 0, partition.reconciled_through)
        count += max(0, partition.total_records - through)
    return count
