-- The progress tables of a state schema of version 4, as that version made them.
CREATE SCHEMA tranship;
CREATE TABLE tranship.attempt (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	highest INTEGER NOT NULL,
	PRIMARY KEY (run, round, stream)
);
CREATE TABLE tranship.backend (
	run TEXT NOT NULL,
	epoch BIGINT NOT NULL,
	pid INTEGER NOT NULL,
	name TEXT NOT NULL,
	started TIMESTAMP WITH TIME ZONE NOT NULL,
	PRIMARY KEY (run, epoch, pid)
);
CREATE TABLE tranship.chunk (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	number INTEGER NOT NULL,
	lower BYTEA,
	upper BYTEA,
	state TEXT DEFAULT 'planned' NOT NULL,
	attempt INTEGER NOT NULL,
	rows BIGINT DEFAULT '0' NOT NULL,
	quarantined BIGINT DEFAULT '0' NOT NULL,
	PRIMARY KEY (run, round, stream, number)
);
CREATE INDEX chunk_waiting ON tranship.chunk (run, round, stream) WHERE state != 'loaded';
CREATE TABLE tranship.comparison (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	streams JSONB NOT NULL,
	moving BIGINT NOT NULL,
	filled JSONB NOT NULL,
	PRIMARY KEY (run, round)
);
CREATE TABLE tranship.dirty (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	digest BYTEA NOT NULL,
	key BYTEA NOT NULL,
	lane SMALLINT NOT NULL,
	generation BIGINT NOT NULL,
	first_seen TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	parked TEXT,
	parked_at TIMESTAMP WITH TIME ZONE,
	PRIMARY KEY (run, round, stream, digest)
);
CREATE INDEX dirty_oldest ON tranship.dirty (run, round, lane, first_seen);
CREATE INDEX dirty_parked ON tranship.dirty (run, round, parked) WHERE parked IS NOT NULL;
CREATE TABLE tranship.divergence (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	digest BYTEA NOT NULL,
	key BYTEA NOT NULL,
	noted BIGINT NOT NULL,
	kind TEXT NOT NULL,
	columns TEXT[] NOT NULL,
	PRIMARY KEY (run, round, stream, digest)
);
CREATE TABLE tranship.epoch (
	run TEXT NOT NULL,
	epoch BIGINT NOT NULL,
	PRIMARY KEY (run)
);
CREATE TABLE tranship.fit (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	part INTEGER NOT NULL,
	effect TEXT NOT NULL,
	place TEXT NOT NULL,
	reason TEXT NOT NULL,
	count BIGINT NOT NULL,
	PRIMARY KEY (run, round, stream, part, effect, place, reason)
);
CREATE TABLE tranship.lane (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	lane INTEGER NOT NULL,
	seq BIGINT NOT NULL,
	PRIMARY KEY (run, round, lane)
);
CREATE TABLE tranship.marker (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	name TEXT NOT NULL,
	kept_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	PRIMARY KEY (run, round, name)
);
CREATE TABLE tranship.owned (
	run TEXT NOT NULL,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	oid OID,
	PRIMARY KEY (run, kind, name)
);
CREATE TABLE tranship.position (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	token BYTEA NOT NULL,
	kept_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	changed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	PRIMARY KEY (run, round)
);
CREATE TABLE tranship.quarantine (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	digest BYTEA NOT NULL,
	key BYTEA NOT NULL,
	path TEXT NOT NULL,
	reason TEXT NOT NULL,
	document BYTEA NOT NULL,
	at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	PRIMARY KEY (run, round, stream, digest)
);
CREATE INDEX quarantine_place ON tranship.quarantine (run, round, stream, substr(key, 1, 64));
CREATE TABLE tranship.touched (
	run TEXT NOT NULL,
	round INTEGER NOT NULL,
	stream TEXT NOT NULL,
	digest BYTEA NOT NULL,
	key BYTEA NOT NULL,
	touch BIGINT NOT NULL,
	PRIMARY KEY (run, round, stream, digest)
);
CREATE TABLE tranship.version (
	number INTEGER NOT NULL,
	made_schema BOOLEAN NOT NULL,
	PRIMARY KEY (number)
);
