-- Whose an eval or a run is: by what its key is known. NULL for those made without a key, and for those made before.
ALTER TABLE evals ADD COLUMN owner TEXT;
ALTER TABLE runs ADD COLUMN owner TEXT;

CREATE INDEX runs_active_by_owner ON runs (owner) WHERE status IN ('queued', 'in_progress');
