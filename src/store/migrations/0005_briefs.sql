-- What tables of samples show of each, and what lists of runs show of the results, beside the long columns. NULL for what was
-- written before.
ALTER TABLE samples ADD COLUMN brief TEXT;
ALTER TABLE runs ADD COLUMN scores TEXT;

-- Holds all that a table of a run's samples reads, so that a hundred thousand of them are read without their records and texts.
CREATE INDEX samples_in_brief ON samples (run, position, sample, brief) WHERE brief IS NOT NULL;

-- Runs of all evals, the newest first.
CREATE INDEX runs_of_all_evals ON runs (created_ms, id);
