-- What people configure.
CREATE TABLE device (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tags TEXT NOT NULL,
    location TEXT,
    description TEXT,
    monitored INTEGER NOT NULL,
    declared TEXT
) STRICT;

CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    device BLOB NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    reach TEXT NOT NULL
) STRICT;

CREATE INDEX source_by_device ON source (device);

CREATE TABLE host_key (
    host TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    public_key TEXT NOT NULL,
    approved_at INTEGER NOT NULL,
    approved_by TEXT NOT NULL,
    PRIMARY KEY (host, algorithm)
) STRICT, WITHOUT ROWID;

-- Numbers that only grow: the last source id given out, the number of audit rows.
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counter VALUES ('source', 0), ('audit', 0);

-- What machines said last.
CREATE TABLE latest (
    source INTEGER NOT NULL,
    collector TEXT NOT NULL,
    as_of INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (source, collector)
) STRICT;

-- What was done and refused: rows are only ever added.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    principal TEXT NOT NULL,
    surface TEXT NOT NULL,
    operation TEXT NOT NULL,
    arguments TEXT NOT NULL,
    outcome TEXT NOT NULL,
    completes INTEGER,
    hash BLOB NOT NULL
) STRICT;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;

CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;

-- History. Texts are metrics' names, labels and collectors' names, each kept once.
CREATE TABLE text (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

-- The polls of one collector of one source: they share their times. `sealed` is the last tail row that is in a chunk.
CREATE TABLE poll_group (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    collector INTEGER NOT NULL,
    sealed INTEGER NOT NULL
) STRICT;

-- `kind`: 0 gauge, 1 counter. `seen`: about when it last had a sample.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    poll_group INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    labels INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT;

-- Which series a tail row tells, in which order.
CREATE TABLE layout (
    id INTEGER PRIMARY KEY,
    series BLOB NOT NULL
) STRICT;

-- Polls in the order in which they came; those that are in chunks go from the front.
CREATE TABLE tail (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- `level`: 0 sealed, 1 also rolled up by the hour, 2 also by five minutes. `row`: the last tail row in it.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    poll_group INTEGER NOT NULL,
    level INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    row INTEGER NOT NULL,
    polls INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX chunk_by_group ON chunk (poll_group, end);

-- `width`: of the buckets, in milliseconds. `alone`: of hours that are not rolled up by five minutes too.
-- `start` and `end`: of the polls that were rolled up.
CREATE TABLE rollup (
    id INTEGER PRIMARY KEY,
    poll_group INTEGER NOT NULL,
    width INTEGER NOT NULL,
    alone INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX rollup_by_group ON rollup (poll_group, width, end);
