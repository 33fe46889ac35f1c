// "The heartbeat" of docs/router-protocol.md.

import { Long, ReadConcern, ReadPreference } from "mongodb";

import { SOURCE } from "./table.mjs";

// Longer than the 800 ms that the router gives itself: the servers must not see a lease end before the router does.
const LEASE_MS = 1_000;
// A server that says nothing must not keep the router from asking the other one.
const ANSWER_MS = 2_000;

// The function comes with the first run and goes with the last one: where it is not, there is no record.
const UNDEFINED_FUNCTION = "42883";
const INVALID_SCHEMA_NAME = "3F000";

export class Beats {
  #plan;
  #instance;
  #source;
  #connect;
  #target = null;
  #call;

  constructor({ plan, instance, source, target, schema }) {
    this.#plan = plan;
    this.#instance = instance;
    this.#source = source;
    this.#connect = target;
    const name = `"${schema.replaceAll('"', '""')}"`;
    this.#call = `SELECT id, state, version, poll_ms FROM ${name}.router_beat($1, $2, $3, $4, $5)`;
  }

  /** Renews the lease on a side, with the fence that was acknowledged there last or null, then reads its record. */
  beat(side, acknowledged) {
    return side === SOURCE ? this.#onSource(acknowledged) : this.#onTarget(acknowledged);
  }

  /** Takes the lease on the source back, so that nobody waits for it to end; if that fails, it ends by itself. */
  async close() {
    this.#drop();
    const options = { writeConcern: { w: "majority" }, timeoutMS: ANSWER_MS };
    await this.#source
      .collection("tranship_routers", options)
      .deleteOne({ _id: this.#instance })
      .catch(() => {});
  }

  #onSource(acknowledged) {
    const options = {
      writeConcern: { w: "majority" },
      readConcern: new ReadConcern("majority"),
      readPreference: ReadPreference.primary,
      useBigInt64: true, // versions are 64-bit integers
      timeoutMS: ANSWER_MS,
    };
    const routers = this.#source.collection("tranship_routers", options);
    const switches = this.#source.collection("tranship_switches", options);
    const lease = { $dateAdd: { startDate: "$$NOW", unit: "millisecond", amount: LEASE_MS } };
    const said = {
      plan: this.#plan,
      until: lease, // by the server's clock
      acknowledged_run: acknowledged?.id ?? null,
      acknowledged_version: acknowledged === null ? null : Long.fromBigInt(acknowledged.version),
    };
    // A session of its own for each beat: one that was given up on must not be used by the next one as well.
    return this.#source.client.withSession({ causalConsistency: true }, async (session) => {
      await routers.updateOne({ _id: this.#instance }, [{ $set: said }], { upsert: true, session });
      const newest = switches.find({ plan: this.#plan }, { session }).sort({ begun: -1, _id: -1 }).limit(1);
      const [found] = await newest.toArray();
      return found === undefined ? null : record(found._id, found);
    });
  }

  async #onTarget(acknowledged) {
    const values = [this.#plan, this.#instance, LEASE_MS, acknowledged?.id ?? null, acknowledged?.version ?? null];
    try {
      if (this.#target === null) await this.#reach();
      const { rows } = await this.#target.query({ text: this.#call, values, query_timeout: ANSWER_MS });
      return rows.length === 0 ? null : record(rows[0].id, rows[0]);
    } catch (error) {
      if (error.code === UNDEFINED_FUNCTION || error.code === INVALID_SCHEMA_NAME) return null;
      this.#drop(); // whatever it was, the next beat begins with a new connection
      throw error;
    }
  }

  async #reach() {
    this.#target = this.#connect();
    this.#target.on("error", () => {}); // a lost connection is noticed by the next query; unheard it ends the process
    await this.#target.connect();
  }

  #drop() {
    const target = this.#target;
    this.#target = null;
    // A server that is silent may not answer to a farewell either: nobody waits for it.
    target?.end().catch(() => {});
  }
}

function record(id, { state, version, poll_ms: pollMs }) {
  return { id, state, version: BigInt(version), pollMs: pollMs == null ? null : Number(pollMs) };
}
