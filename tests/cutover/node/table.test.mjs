// The table of docs/router-protocol.md, "Where writes go", row by row, with records that no server keeps.

import assert from "node:assert/strict";
import { test } from "node:test";

import { look, SOURCE, TARGET } from "./table.mjs";

const UNREADABLE = Symbol("unreadable");
const UNASKED = Symbol("unasked"); // reading it is a mistake: a heartbeat would go to a side that nobody needs
const SOURCE_CONFIGURED = SOURCE;

function is(state, version = 5) {
  return { id: "run", state, version: BigInt(version), pollMs: null };
}

async function verdict(begins, source, target, whenNone = SOURCE_CONFIGURED) {
  const records = { [SOURCE]: source, [TARGET]: target };
  const asked = [];
  const read = async (side) => {
    asked.push(side);
    assert.notEqual(records[side], UNASKED, `${side} was read`);
    if (records[side] === UNREADABLE) throw new Error(`${side} is away`);
    return records[side];
  };
  const { writes, version, fence } = await look(begins, whenNone, read);
  assert.equal(asked[0], begins);
  if (writes !== null) return `${writes} ${version}`;
  return fence === null ? "wait" : `wait, acknowledge ${fence.side} ${fence.version}`;
}

const ROWS = [
  // begins with the target
  [TARGET, UNASKED, is("primary", 7), "target 7"],
  [TARGET, UNASKED, is("fenced", 7), "wait, acknowledge target 7"],
  [TARGET, is("primary"), null, "source 5"],
  [TARGET, is("primary"), is("closed"), "source 5"],
  [TARGET, null, is("closed"), "wait"],
  [TARGET, is("fenced"), is("ready"), "wait, acknowledge source 5"],
  [TARGET, is("handed_over"), is("ready"), "target 5"],
  // begins with the source, which alone decides
  [SOURCE, null, UNASKED, "source 0"],
  [SOURCE, is("primary"), UNASKED, "source 5"],
  [SOURCE, is("fenced"), UNASKED, "wait, acknowledge source 5"],
  [SOURCE, is("lifting"), UNASKED, "wait, acknowledge source 5"],
  // begins with the source, and the target has a say
  [SOURCE, is("handed_over"), is("ready"), "target 5"],
  [SOURCE, is("handed_over"), is("ready", 4), "wait"],
  [SOURCE, is("handed_over"), is("ready", 6), "wait"],
  [SOURCE, is("handed_over"), is("primary"), "target 5"],
  [SOURCE, is("handed_over"), is("primary", 6), "target 6"],
  [SOURCE, is("handed_over"), is("primary", 4), "wait"],
  [SOURCE, is("ready"), is("handed_over"), "source 5"],
  [SOURCE, is("ready"), is("handed_over", 4), "wait"],
  [SOURCE, is("ready"), is("primary"), "wait"],
  [SOURCE, is("closed"), is("fenced", 7), "wait, acknowledge target 7"],
  [SOURCE, is("handed_over"), is("fenced", 7), "wait, acknowledge target 7"],
  [SOURCE, is("handed_over"), is("closed"), "wait"],
  [SOURCE, is("handed_over"), null, "wait"],
  [SOURCE, is("closed"), is("primary"), "wait"],
  [SOURCE, is("of a later version"), is("primary"), "wait"],
  // the source cannot be read
  [SOURCE, UNREADABLE, is("primary", 7), "target 7"],
];

function named(record) {
  return typeof record === "symbol" ? record.description : record && `${record.state}(${record.version})`;
}

for (const [begins, source, target, expected] of ROWS) {
  test(`begins with the ${begins}, S = ${named(source)}, T = ${named(target)}: ${expected}`, async () => {
    assert.equal(await verdict(begins, source, target), expected);
  });
}

test("without a record writes go where the application was configured to begin, or wait", async () => {
  assert.equal(await verdict(SOURCE, null, UNASKED, TARGET), "target 0");
  assert.equal(await verdict(SOURCE, null, UNASKED, null), "wait");
});

const NO_VERDICT = [
  [SOURCE, UNREADABLE, UNREADABLE],
  [SOURCE, UNREADABLE, is("ready")],
  [SOURCE, UNREADABLE, is("fenced")],
  [SOURCE, UNREADABLE, null],
  [SOURCE, is("handed_over"), UNREADABLE],
  [SOURCE, is("ready"), UNREADABLE],
  [TARGET, null, UNREADABLE],
  [TARGET, is("primary"), UNREADABLE],
  [TARGET, UNREADABLE, is("closed")],
];

for (const [begins, source, target] of NO_VERDICT) {
  test(`begins with the ${begins}, S = ${named(source)}, T = ${named(target)}: no verdict`, async () => {
    await assert.rejects(verdict(begins, source, target), /is away/);
  });
}
