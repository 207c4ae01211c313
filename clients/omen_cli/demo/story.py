"""
The words that go with the demonstration on a stage: two to three minutes.
"""

STORY = """OMEN: Two-path signal intelligence — ledger first, then live.          (run `omen demo`, and talk)

INTRO, 15 s
  OMEN takes raw events and says what they are worth: a probability, with its grounds. Each signal goes two ways. The
  hot path brings it to RiskCast at once. The ledger keeps it, for audit and for replay. The ledger is always first;
  so when the hot path fails nothing is lost, and the reconciler brings the rest.

EMIT, 30 s                                                                  claims: delivered, deduped
  Five signals are emitted. Each is framed — length, CRC-32, payload — written and synced, and only then pushed.
  RiskCast answers each with an ack. Now I bring one of them again: ALREADY_EXISTS, and the ack is the first one's.
  “1×200, N×409: one accepted, rest deduped.”

LOSE IT, 30 s                                                                claims: ledger-only, riskcast-kept
  I kill RiskCast. No shutdown: SIGKILL. Two more signals: LEDGER_ONLY. They are durable, and nobody has them.
  RiskCast comes back. Ledger 7, RiskCast 5.

RECONCILE, 30 s                                                              claims: reconciled, up-to-date
  One round of the reconciler. It compares both sides by position and fingerprint, finds two missing, and replays them
  through the same ingest call as everybody. Replayed 2. Seven and seven. Once more: up to date.

KILL THE LEDGER, 30 s                                                        claims: recovered, complete, crash-tail
  Now OMEN itself, in mid-append, with calls in flight. It starts again: whatever was half written is cut and kept
  aside, whatever was acknowledged is there.
  “Crash-tail: reader returns only complete frames.”

FIND THE BIT, 15 s                                                           claims: verified, bit-flip
  Verify: everything derived again from the bytes, and it fits. In a copy I turn over one bit of one title. It still is
  JSON. Verify names the partition, the sequence, and the byte.

CLOSE, 15 s                                                                  claims: ledger-first, dedupe, metadata
  Ledger-first, crash-safe framing, dedupe at ingest, reconcile for completeness. Every line you saw names the test that
  proves it, and the next run does all of it again.

If there is no network: there is none in this. If RiskCast cannot be reached: “Ledger-only”, the counts are in
`omen ledger partitions DIR`, and reconcile will recover.
"""  # noqa: RUF001 - a multiplication sign
