-- The statements about API keys. Each can be sent twice and do its work once, since an answer may be lost on the way.

-- create: store a key, unless there are as many valid ones as there may be
WITH created AS (
    INSERT INTO api_keys (id, tenant, name, hash, hint, admin)
    SELECT $1, $2, $3, $4, $5, $7
    WHERE (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL) < $6
    ON CONFLICT (id) DO NOTHING
    RETURNING *
)
SELECT * FROM created UNION ALL SELECT * FROM api_keys WHERE id = $1

-- all: every key, also those that were revoked, oldest first
SELECT * FROM api_keys ORDER BY id

-- revoke: end a key; the first time counts
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING *

-- callers: the valid keys' hashes, and whose they are
SELECT hash, tenant, admin FROM api_keys WHERE revoked_at IS NULL

-- any: whether there has ever been a key
SELECT FROM api_keys LIMIT 1
