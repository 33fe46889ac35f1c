// Writers that go through the router of this folder, told and telling the same as `python -m tests.cutover.writers`.

import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";

import { MongoClient } from "mongodb";
import pg from "pg";

import { Router } from "./router.mjs";
import { SOURCE } from "./table.mjs";

const DELETES = 0.1;

/** One loop; it owns its keys and a connection to the target. */
class Writer {
  #setting;
  #router;
  #collection;
  #table;
  #target = null;
  #version = 0;

  constructor(setting, number, router, database) {
    this.done = { thread: number, writes: [], failed: [] };
    this.#setting = setting;
    this.#router = router;
    this.#collection = database.collection(setting.collection ?? "things");
    this.#table = [setting.schema, setting.collection ?? "things"].map(pg.escapeIdentifier).join(".");
  }

  /** Writes at an even pace, never faster to make up for a wait. */
  async run(ended) {
    const pause = 1000 / this.#setting.rate;
    let due = performance.now() + Math.random() * pause;
    while (!(await ended(due - performance.now()))) {
      due = Math.max(due + pause, performance.now());
      await this.#write();
    }
    await this.#target?.end();
  }

  async #write() {
    this.#version += 1;
    const key = `w${this.done.thread}.${Math.floor(Math.random() * this.#setting.keys)}`;
    const version = Math.random() < DELETES ? null : this.#version;
    const [at, began] = [Date.now() / 1000, performance.now()];
    try {
      const name = await this.#router.writing(async (side) => {
        await (side.name === SOURCE ? this.#onSource(key, version) : this.#onTarget(side, key, version));
        return side.name;
      });
      this.done.writes.push([key, version, at, (performance.now() - began) / 1000, name]);
    } catch (error) {
      this.done.failed.push(`${error.constructor.name}: ${error.message}`); // whatever it is, the application sees it
    }
  }

  async #onSource(key, version) {
    if (version === null) {
      await this.#collection.deleteOne({ _id: key });
    } else {
      await this.#collection.replaceOne({ _id: key }, { thread: this.done.thread, version }, { upsert: true });
    }
  }

  async #onTarget(side, key, version) {
    if (this.#target === null) {
      this.#target = new pg.Client(this.#setting.target);
      await this.#target.connect();
    }
    await this.#target.query("BEGIN");
    try {
      await this.#target.query(side.statement);
      await this.#put(key, version);
      await this.#target.query("COMMIT");
    } catch (error) {
      await this.#target.query("ROLLBACK");
      throw error;
    }
  }

  async #put(key, version) {
    if (version === null) {
      await this.#target.query(`DELETE FROM ${this.#table} WHERE _id = $1`, [key]);
    } else {
      const put =
        `INSERT INTO ${this.#table} (_id, thread, version) VALUES ($1, $2, $3) ` +
        "ON CONFLICT (_id) DO UPDATE SET thread = excluded.thread, version = excluded.version";
      await this.#target.query(put, [key, this.done.thread, version]);
    }
  }
}

/** The first line of stdin, and a function that waits for so many milliseconds or until stdin ends: has it ended? */
async function stdin() {
  const lines = createInterface({ input: process.stdin });
  let over = false;
  const closed = new Promise((resolve) => lines.once("close", resolve)).then(() => {
    over = true;
  });
  const first = await new Promise((resolve) => lines.once("line", resolve));
  const ended = async (ms) => {
    let timer;
    await Promise.race([closed, new Promise((resolve) => (timer = setTimeout(resolve, Math.max(0, ms))))]);
    clearTimeout(timer);
    return over;
  };
  return [first, ended];
}

const print = (said) => process.stdout.write(`${JSON.stringify(said)}\n`);

const [first, ended] = await stdin();
const setting = JSON.parse(first);
const client = new MongoClient(setting.source, { writeConcern: { w: "majority" } });
const database = client.db(setting.database);
const router = new Router(setting.plan, {
  source: database,
  target: () => new pg.Client({ connectionString: setting.target, connectionTimeoutMillis: 5_000 }),
  initial: SOURCE,
});
const writers = Array.from({ length: setting.threads }, (_, n) => {
  return new Writer(setting, setting.first + n, router, database);
});
const running = writers.map((writer) => writer.run(ended));
print({ instance: router.instance });
await Promise.all(running);
await router.close();
for (const writer of writers) print(writer.done);
await client.close();
