// A router for Node.js, written from docs/router-protocol.md alone. It is here to prove that the page suffices.

import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";

import { Beats } from "./beats.mjs";
import { look, SOURCE, TARGET } from "./table.mjs";

const OWN_LEASE_MS = 800;
const LOOK_MS = 250;
const WAITING_MS = 50;
const DOUBT_MS = 5_000;

/** A write that waited for as long as the application lets it, and was not begun. */
export class NotBegunError extends Error {}

/** A write that was answered when the lease had ended: nobody knows whether it counts. */
export class UnknownOutcomeError extends Error {}

// It never goes back, whatever is done to the clock on the wall.
const now = () => performance.now();

export class Router {
  instance = randomUUID();
  #beats;
  #initial;
  #limitMs;
  #last = null; // the side where writes went last
  #verdict = null; // of the last look that came to one
  #leaseEnd = -Infinity;
  #looked = -Infinity; // when the last look began that came to a verdict
  #lapses = 0; // how often the lease had ended before it was renewed
  #underWay = 0;
  #acknowledged = { [SOURCE]: null, [TARGET]: null };
  #waiting = new Set(); // what to call when the gate opens, or a first verdict is there
  #hurry = () => {}; // ends the pause between two looks
  #trouble; // why the last look came to no verdict
  #closed = false;
  #looking;

  /**
   * `source` is a `Db` of the mongodb driver, `target` a function that makes a `Client` of pg that is not connected
   * yet, and that gives up connecting by itself (`connectionTimeoutMillis`). `initial` is where writes go while there is no record at all; without it they wait. A write waits for
   * `limitMs` at most. `beats` is there for tests.
   */
  constructor(plan, { source, target, initial = null, schema = "tranship", limitMs = 30_000, beats = null }) {
    this.#beats = beats ?? new Beats({ plan, instance: this.instance, source, target, schema });
    this.#initial = initial;
    this.#limitMs = limitMs;
    this.#looking = this.#keepLooking();
  }

  /**
   * Runs `write(side)` once the gate lets it, and answers with what that answers. `side.name` says where to write; a
   * transaction on the target begins with `side.statement`.
   */
  async writing(write) {
    await this.#wait(() => this.#open());
    // Nothing is awaited between the look at the gate and the count, so no fence can come between them.
    this.#underWay += 1;
    const lapses = this.#lapses;
    const chosen = this.#verdict;
    let result;
    let held;
    try {
      result = await write(side(chosen));
      // A lease that had ended may have been renewed since, after the write's side had handed over: hence the count.
      held = lapses === this.#lapses && now() < this.#leaseEnd;
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0 && this.#unacknowledged()) this.#hurry();
    }
    if (!held && !(await this.#stands(chosen, now()))) {
      throw new UnknownOutcomeError("the lease had ended when the write was answered: it may or may not count");
    }
    return result;
  }

  /** Whether a look that was begun behind the answer still finds the record by which the write was chosen. */
  async #stands(chosen, answered) {
    this.#hurry();
    try {
      await this.#wait(() => this.#looked > answered, DOUBT_MS);
    } catch {
      return false;
    }
    return this.#verdict.writes === chosen.writes && this.#verdict.version === chosen.version;
  }

  /** The side to read from. Waits for nothing but the first look that comes to a verdict. */
  async reading() {
    await this.#wait(() => this.#verdict !== null);
    return this.#verdict.writes ?? this.#last ?? this.#verdict.fence?.side ?? SOURCE;
  }

  /** Lets the writes under way end, then takes the lease on the source back; one on the target ends by itself. */
  async close() {
    this.#closed = true;
    this.#hurry();
    this.#wake();
    await this.#looking;
    await this.#beats.close();
  }

  #open() {
    return !this.#closed && this.#verdict?.writes != null && now() < this.#leaseEnd;
  }

  async #wait(ready, limitMs = this.#limitMs) {
    const end = now() + limitMs;
    while (!ready()) {
      if (this.#closed) throw new NotBegunError("the router is closed; nothing was begun");
      const left = end - now();
      if (left <= 0) throw new NotBegunError(`waited ${limitMs} ms; nothing was begun`, { cause: this.#trouble });
      await new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.#waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(done, left);
        this.#waiting.add(done);
      });
    }
  }

  #wake() {
    for (const done of [...this.#waiting]) done();
  }

  async #keepLooking() {
    // While writes are under way the lease is kept, even when the router is being closed.
    while (!this.#closed || this.#underWay > 0) {
      const pollMs = await this.#look();
      const ms = this.#untilNext(pollMs);
      if (ms > 0) await this.#pause(ms);
    }
  }

  #untilNext(pollMs) {
    const heard = this.#trouble === undefined; // a server that is away is not asked without a pause
    if (heard && this.#underWay === 0 && this.#unacknowledged()) return 0;
    return this.#open() ? pollMs : WAITING_MS;
  }

  /** One look; answers with how often the records ask for one. */
  async #look() {
    const began = now();
    const fence = this.#unacknowledged();
    if (fence !== null && this.#underWay === 0) this.#acknowledged[fence.side] = fence;
    let pollMs = LOOK_MS;
    const read = async (on) => {
      const record = await this.#beats.beat(on, this.#acknowledged[on]);
      pollMs = Math.min(pollMs, record?.pollMs ?? LOOK_MS);
      return record;
    };
    try {
      this.#conclude(began, await look(this.#last ?? SOURCE, this.#last ?? this.#initial, read));
      this.#trouble = undefined;
    } catch (error) {
      // No verdict: what was known goes on for as long as the lease lasts. Writes that wait longer are told why.
      this.#trouble = error;
    }
    return pollMs;
  }

  #conclude(began, verdict) {
    this.#verdict = verdict; // shuts the gate, or opens it, before the lease is renewed
    if (now() >= this.#leaseEnd) this.#lapses += 1;
    this.#looked = began;
    this.#leaseEnd = began + OWN_LEASE_MS;
    this.#last = verdict.writes ?? this.#last;
    this.#wake();
  }

  /** The fence that writes wait for, unless it has been acknowledged. */
  #unacknowledged() {
    const fence = this.#verdict?.fence ?? null;
    if (fence === null) return null;
    const said = this.#acknowledged[fence.side];
    return said?.id === fence.id && said.version === fence.version ? null : fence;
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function side({ writes, version }) {
  const states = `SELECT pg_catalog.set_config('tranship.version', '${version}', true)`;
  const statement = writes === TARGET ? states : null;
  return { name: writes, version, statement };
}
