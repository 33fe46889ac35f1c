// Lease and gate of docs/router-protocol.md, on records that no server keeps.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { NotBegunError, Router, UnknownOutcomeError } from "./router.mjs";
import { SOURCE } from "./table.mjs";

/** Records of both sides, and what was acknowledged with each heartbeat to the source. */
class Records {
  said = [];
  away = false;

  constructor(source, target = null) {
    Object.assign(this, { source, target });
  }

  async beat(side, acknowledged) {
    if (this.away) throw new Error("away");
    if (side === SOURCE) this.said.push(acknowledged?.version ?? null);
    return side === SOURCE ? this.source : this.target;
  }

  async close() {}
}

const is = (state, version) => ({ id: "run", state, version, pollMs: 20 });

let router;

function routed(options = {}, beats = new Records(is("primary", 1n))) {
  router = new Router("shop", { beats, ...options });
  return beats;
}

afterEach(() => router.close());

const to = (side) => side.name;

async function until(condition) {
  const end = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < end, "waited 10 s");
    await sleep(1);
  }
}

test("a fence is acknowledged once no write is under way, and in every heartbeat behind it", async () => {
  const beats = routed();
  let answer;
  const answered = new Promise((resolve) => (answer = resolve));
  const write = router.writing(() => answered);
  await until(() => beats.said.length > 0);
  beats.source = is("fenced", 2n);
  const seen = beats.said.length;
  await until(() => beats.said.length > seen + 2);
  const waiting = router.writing(to);
  const said = new Set(beats.said);
  answer("written");
  assert.deepEqual(said, new Set([null]));
  assert.equal(await write, "written");
  await until(() => beats.said.at(-1) === 2n);
  beats.target = is("ready", 3n);
  beats.source = is("handed_over", 3n);
  assert.equal(await waiting, "target");
  assert.deepEqual(new Set(beats.said.slice(beats.said.indexOf(2n))), new Set([2n]));
});

test("a transaction on the target states the version", async () => {
  routed({}, new Records(is("handed_over", 3n), is("ready", 3n)));
  const stated = await router.writing((side) => side.statement);
  assert.equal(stated, "SELECT pg_catalog.set_config('tranship.version', '3', true)");
});

test("what was known goes on for as long as the lease lasts, and no longer", async () => {
  const beats = routed({ limitMs: 1_500 });
  assert.equal(await router.writing(to), "source");
  beats.away = true;
  assert.equal(await router.writing(to), "source");
  await sleep(900);
  await assert.rejects(router.writing(to), (error) => error instanceof NotBegunError && error.cause !== undefined);
  assert.equal(await router.reading(), "source");
});

for (const version of [1n, 3n]) {
  test(`a write that is answered behind the lease counts by the same record only: ${version}`, async () => {
    const beats = routed({}, new Records(is("primary", 1n)));
    const write = router.writing(async () => {
      beats.away = true;
      await sleep(900);
      beats.source = is("primary", version);
      beats.away = false;
      await router.writing(to);
      return "written";
    });
    if (version === 1n) assert.equal(await write, "written");
    else await assert.rejects(write, UnknownOutcomeError);
  });
}

test("once writes went to the source they go on to, when its record is gone", async () => {
  const beats = routed({ initial: null });
  assert.equal(await router.writing(to), "source");
  beats.source = null;
  const seen = beats.said.length;
  await until(() => beats.said.length > seen + 2);
  assert.equal(await router.writing(to), "source");
});

test("once writes went to the target they go on to, when both records are gone", async () => {
  const beats = routed({ initial: SOURCE }, new Records(is("handed_over", 3n), is("primary", 3n)));
  assert.equal(await router.writing(to), "target");
  beats.target = null;
  beats.source = null;
  const seen = beats.said.length;
  await until(() => beats.said.length > seen + 2);
  assert.equal(await router.writing(to), "target");
});

test("a router that knows no side lets writes wait, and reads from the source", async () => {
  routed({ limitMs: 100 }, new Records(null));
  await assert.rejects(router.writing(to), NotBegunError);
  assert.equal(await router.reading(), "source");
});
