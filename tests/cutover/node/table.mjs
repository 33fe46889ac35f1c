// "Where writes go" of docs/router-protocol.md, row by row. It knows neither drivers nor clocks.

export const SOURCE = "source";
export const TARGET = "target";

/**
 * What a look comes to.
 *
 * `begins` is the side that it begins with, `whenNone` the side that writes go to where the source has no record: null
 * if the router knows none. `read(side)` sends a heartbeat to the side and answers with its record
 * `{id, state, version, pollMs}`, or null if there is none; it throws if the record cannot be read.
 *
 * Answers `{writes, version, fence}`: `writes` is a side, or null when writes wait; `fence` is what has to be
 * acknowledged. Throws when there is no verdict, since a record could not be read: then what was known goes on.
 */
export async function look(begins, whenNone, read) {
  let denied = false; // the target, where writes went, says that they do not go there
  if (begins === TARGET) {
    const target = await read(TARGET);
    if (target?.state === "primary") return goes(TARGET, target.version);
    if (target?.state === "fenced") return waits(TARGET, target);
    denied = target !== null;
  }

  let source;
  try {
    source = await read(SOURCE);
  } catch (unreadable) {
    // The target is the primary only behind a source that has handed over: whatever the source says, it is not "here".
    const target = await read(TARGET);
    if (target?.state === "primary") return goes(TARGET, target.version);
    throw unreadable;
  }
  if (source === null) return whenNone === null || denied ? waits() : goes(whenNone, 0n);
  if (source.state === "primary") return goes(SOURCE, source.version);
  if (source.state === "fenced" || source.state === "lifting") return waits(SOURCE, source);

  const target = await read(TARGET);
  const same = source.version === target?.version;
  if (source.state === "handed_over") {
    if (target?.state === "ready" && same) return goes(TARGET, target.version);
    if (target?.state === "primary" && target.version >= source.version) return goes(TARGET, target.version);
  }
  if (source.state === "ready" && target?.state === "handed_over" && same) return goes(SOURCE, source.version);
  if (target?.state === "fenced") return waits(TARGET, target);
  return waits();
}

function goes(writes, version) {
  return { writes, version, fence: null };
}

function waits(side, record) {
  const fence = side === undefined ? null : { side, id: record.id, version: record.version };
  return { writes: null, version: null, fence };
}
