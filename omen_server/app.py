import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog

from omen.v1 import ledger_service_pb2, operations_service_pb2, signal_service_pb2
from omen_rpc.program import FAILED
from omen_rpc.server import Server
from omen_rpc.settings import Loaded
from omen_server.activity import Activity
from omen_server.breaker import Breaker
from omen_server.desk.desk import Desk
from omen_server.emitter import Emitter
from omen_server.index import Index
from omen_server.index.follower import Follower
from omen_server.intake.events import Events
from omen_server.intake.keeping import Keeper
from omen_server.intake.queries import Queries
from omen_server.intake.service import Parts, SignalService
from omen_server.intake.signals import Signals
from omen_server.ledger import upkeep
from omen_server.ledger.ledger import Ledger
from omen_server.ledger.service import LedgerService
from omen_server.noting import Notes
from omen_server.opening import desk_of, index_of, ledger_of, riskcast_of, running
from omen_server.operations import Operated, Operations
from omen_server.pipeline.run import Outcome
from omen_server.pipeline.ruleset import Ruleset
from omen_server.polling import polling
from omen_server.refusals import REFUSALS
from omen_server.requeue import Requeue
from omen_server.settings import PROGRAM, OmenSettings
from omen_server.settled import standing
from omen_server.stats import Stats
from omen_server.stream.stream import Stream
from omen_server.tail import Tail

SIGNALS = signal_service_pb2.DESCRIPTOR.services_by_name["SignalService"]
LEDGER = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
OPERATIONS = operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"]

ENGINE = "file ledger"
LAST_ANSWERS_S = 0.5

log = structlog.get_logger()
