/**
 * A raw event's whole way, as another team's service would go it: submitted to OMEN, seen on the stream, known to
 * RiskCast, which tells whoever brings it again its first ack.
 *
 *     node dist/src/walk.js 127.0.0.1:50051 127.0.0.1:50052
 *
 * It prints one line of JSON. An address is HOST:PORT, plain HTTP/2; with TLS the base URL begins with https.
 */
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { RawSignalEventSchema, type SignalEvent } from "../gen/omen/v1/signal_pb.js";
import { EmitStatus, SignalService } from "../gen/omen/v1/signal_service_pb.js";
import { IngestService, SignalAlreadyIngestedSchema } from "../gen/riskcast/v1/ingest_service_pb.js";

const DEADLINE_MS = 20_000;

/** What RiskCast says of a signal, new or known. */
interface Outcome {
  status: "OK" | "ALREADY_EXISTS";
  ackId: string;
  details: string[];
}

/** Submit a raw event and return the signal that the rules made of it; throws when they made none. */
async function submit(omen: Client<typeof SignalService>, id: string): Promise<{ event: SignalEvent; ackId: string }> {
  const event = create(RawSignalEventSchema, {
    source: "polymarket",
    sourceEventId: id,
    title: "Will Red Sea shipping be disrupted by attacks?",
    description: "Resolves on any attack on shipping in the Red Sea or the Suez Canal.",
    probability: 0.62,
    observedAt: timestampFromDate(new Date()),
    market: { liquidityUsd: 90_000, volumeUsd: 400_000, active: true, outcomes: ["Yes", "No"] },
  });
  const { result } = await omen.submitEvent({ event }, { timeoutMs: DEADLINE_MS });
  if (result?.event === undefined) {
    throw new Error(`${result ? EmitStatus[result.status] : "no result"}: ${result?.detail}`);
  }
  return { event: result.event, ackId: result.ackId };
}

/** Read the stream from its beginning until a signal comes by, and return the cursor to go on after. */
async function see(omen: Client<typeof SignalService>, signalId: string): Promise<string> {
  const request = { start: { case: "fromBeginning", value: true } } as const;
  for await (const { cursor, frame } of omen.streamSignals(request, { timeoutMs: DEADLINE_MS })) {
    if (frame.case === "batch" && frame.value.events.some((event) => event.signalId === signalId)) {
      return cursor;
    }
  }
  throw new Error(`the stream ended before ${signalId}`);
}

/**
 * Ingest a signal straight into RiskCast. A duplicate is no failure: its first receipt is a detail of the status, in
 * the trailer grpc-status-details-bin, which findDetails decodes.
 */
async function ingest(riskcast: Client<typeof IngestService>, signal: SignalEvent): Promise<Outcome> {
  try {
    const { ackId } = await riskcast.ingest({ signal }, { timeoutMs: DEADLINE_MS });
    return { status: "OK", ackId, details: [] };
  } catch (error) {
    const known = ConnectError.from(error);
    const [duplicate] = known.findDetails(SignalAlreadyIngestedSchema);
    if (known.code !== Code.AlreadyExists || duplicate?.receipt === undefined) {
      throw error;
    }
    const details = known.details.map((each) => ("type" in each ? each.type : each.desc.typeName));
    return { status: "ALREADY_EXISTS", ackId: duplicate.receipt.ackId, details };
  }
}

async function walk(omenAddress: string, riskcastAddress: string, id: string): Promise<void> {
  const omen = createClient(SignalService, createGrpcTransport({ baseUrl: `http://${omenAddress}` }));
  const riskcast = createClient(IngestService, createGrpcTransport({ baseUrl: `http://${riskcastAddress}` }));
  const submitted = await submit(omen, id);
  const cursor = await see(omen, submitted.event.signalId);
  const again = await ingest(riskcast, submitted.event);
  const { event, ackId } = submitted;
  // A uint64 is a bigint here, which JSON has no word for.
  console.log(JSON.stringify({ signalId: event.signalId, index: Number(event.ledgerIndex), ackId, cursor, again }));
}

const [omen = "127.0.0.1:50051", riskcast = "127.0.0.1:50052", id = `node-${Date.now()}`] = process.argv.slice(2);
await walk(omen, riskcast, id);
process.exit(0); // The connections would be kept for a while.
