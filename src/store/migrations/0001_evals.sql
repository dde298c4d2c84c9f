-- What both SQLite and PostgreSQL read: JSON is TEXT, a time is milliseconds since 1970 in a BIGINT.

CREATE TABLE evals (
    id TEXT PRIMARY KEY,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    metadata TEXT NOT NULL
);

CREATE INDEX evals_by_age ON evals (created_ms, id);

-- `sequence` counts everything that happened to a run: a sample or an event each take the next number, under the lock
-- of this row, so that what is read up to a number never gets an older one later.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    eval TEXT NOT NULL REFERENCES evals (id) ON DELETE CASCADE,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    started_ms BIGINT,
    finished_ms BIGINT,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    status TEXT NOT NULL,
    spec TEXT NOT NULL,
    metadata TEXT NOT NULL,
    record TEXT,
    results TEXT,
    error TEXT,
    samples_per_task BIGINT NOT NULL,
    samples_total BIGINT NOT NULL,
    samples_done BIGINT NOT NULL DEFAULT 0,
    passed BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    errored BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    refusals BIGINT NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX runs_by_age ON runs (eval, created_ms, id);
CREATE INDEX runs_active ON runs (created_ms, id) WHERE status IN ('queued', 'in_progress');

-- One problem in one language. `token` grows with every claim: who holds an older one has lost the task.
CREATE TABLE tasks (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    language TEXT NOT NULL,
    problem TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open',
    token BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    worker TEXT,
    lease_until_ms BIGINT NOT NULL DEFAULT 0,
    error TEXT,
    PRIMARY KEY (run, position),
    UNIQUE (run, language, problem)
);

CREATE INDEX tasks_undone ON tasks (run, position) WHERE state <> 'done';

-- The completion stands last, so that lists which leave it out never read its pages.
CREATE TABLE samples (
    run TEXT NOT NULL,
    position BIGINT NOT NULL,
    sample BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    status TEXT NOT NULL,
    record TEXT NOT NULL,
    completion TEXT NOT NULL,
    PRIMARY KEY (run, position, sample),
    FOREIGN KEY (run, position) REFERENCES tasks (run, position) ON DELETE CASCADE
);

CREATE UNIQUE INDEX samples_in_order ON samples (run, sequence);
CREATE INDEX samples_by_status ON samples (run, status, position, sample);

CREATE TABLE events (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run, sequence)
);
