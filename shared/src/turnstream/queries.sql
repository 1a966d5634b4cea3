-- Every statement of the store. Each can be sent twice and do its work once, since an answer may be lost on the way.

-- accept: store a new turn, if what it refers to is there and its key is not taken
INSERT INTO turns (id, tenant, conversation, previous, request, input, idempotency_key, fingerprint, stored, model)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
WHERE ($3::text IS NULL OR EXISTS (SELECT FROM conversations WHERE id = $3 AND tenant = $2))
  AND ($4::text IS NULL OR EXISTS (SELECT FROM turns WHERE id = $4 AND tenant = $2 AND stored AND output IS NOT NULL))
ON CONFLICT DO NOTHING
RETURNING id

-- accepted: the turn of this id, or of this key, and whether it came with this body
SELECT id, fingerprint = $4 AS same FROM turns WHERE tenant = $2 AND (id = $1 OR idempotency_key = $3)

-- retried: the newest turn that came with this body since an id was made; ids sort by time
SELECT id FROM turns WHERE tenant = $1 AND id > $2 AND fingerprint = $3 ORDER BY id DESC LIMIT 1

-- withdraw: take back a turn that could not be queued
DELETE FROM turns WHERE id = $1 AND attempt = 0 RETURNING id

-- turn: read a tenant's turn
SELECT * FROM turns WHERE id = $1 AND tenant = $2

-- turns_ascending: a page of a tenant's turns, oldest first; ids sort by the time they were made
SELECT * FROM turns
WHERE tenant = $1 AND stored AND id > coalesce($2, '') AND ($3::text IS NULL OR id < $3) AND ($4::text IS NULL OR model = $4)
ORDER BY id LIMIT $5

-- turns_descending: a page of a tenant's turns, newest first
SELECT * FROM turns
WHERE tenant = $1 AND stored AND ($2::text IS NULL OR id < $2) AND id > coalesce($3, '') AND ($4::text IS NULL OR model = $4)
ORDER BY id DESC LIMIT $5

-- delete_turn: delete a turn that has ended; its conversation keeps the items
DELETE FROM turns WHERE id = $1 AND tenant = $2 AND output IS NOT NULL RETURNING id

-- claim: take a turn that nobody holds; the same owner asking again keeps its attempt
UPDATE turns
SET status = CASE status WHEN 'queued' THEN 'running' ELSE status END,
    attempt = attempt + (lease_owner IS DISTINCT FROM $2)::int,
    lease_owner = $2,
    lease_until = now() + $3
WHERE id = $1 AND (lease_until IS NULL OR lease_until < now() OR lease_owner = $2)
RETURNING *

-- lease: how many seconds a turn is held for still; no row if there is no such turn
SELECT greatest(0, extract(epoch FROM lease_until - now()))::float8 AS seconds FROM turns WHERE id = $1

-- renew: prolong the leases of these turns, and say which of them are still these owners'
UPDATE turns SET lease_until = now() + $3
FROM unnest($1::text[], $2::text[]) AS held (id, owner)
WHERE turns.id = held.id AND turns.lease_owner = held.owner
RETURNING turns.lease_owner

-- release: give up a turn for another worker to take; it counts as no failed attempt
UPDATE turns SET lease_owner = NULL, lease_until = NULL, handovers = handovers + 1 WHERE id = $1 AND lease_owner = $2

-- finish: end a turn and extend its conversation, unless another attempt has it; a cancelled turn stays cancelled
WITH finished AS (
    UPDATE turns
    SET status = CASE status WHEN 'cancelled' THEN status ELSE $3 END,
        output = $4, usage = $5, error = $6, incomplete = $7, service_tier = $10,
        completed_at = coalesce(completed_at, now()), lease_owner = NULL, lease_until = NULL
    WHERE id = $1 AND attempt = $2 AND output IS NULL
    RETURNING id, conversation, status, completed_at
), extended AS (
    INSERT INTO items (conversation, id, turn, data)
    SELECT conversations.id, item.id, finished.id, item.data
    FROM finished
    JOIN conversations ON conversations.id = finished.conversation
    CROSS JOIN unnest($8::text[], $9::json[]) WITH ORDINALITY AS item (id, data, place)
    WHERE finished.status IN ('completed', 'incomplete')
    ORDER BY item.place
    ON CONFLICT (conversation, id) DO NOTHING
)
SELECT status, completed_at FROM finished

-- finished: read how an attempt has finished
SELECT status, completed_at FROM turns WHERE id = $1 AND attempt = $2 AND output IS NOT NULL

-- cancel: end a turn that has not ended
UPDATE turns SET status = 'cancelled', completed_at = now()
WHERE id = $1 AND tenant = $2 AND status IN ('queued', 'running')
RETURNING *

-- forget: erase what a turn asked and answered
UPDATE turns SET request = $2, input = '[]', output = '[]', error = NULL WHERE id = $1

-- chain: the turns that a turn follows, and itself last; without their content if they are too many or too large
WITH RECURSIVE chain AS (
    SELECT id, previous, conversation, input, output, 1 AS depth, octet_length(input::text) + coalesce(octet_length(output::text), 0) AS size
    FROM turns WHERE id = $1 AND tenant = $2
    UNION ALL
    SELECT turns.id, turns.previous, turns.conversation, turns.input, turns.output, depth + 1,
        size + octet_length(turns.input::text) + coalesce(octet_length(turns.output::text), 0)
    FROM turns JOIN chain ON turns.id = chain.previous
    WHERE turns.tenant = $2 AND depth <= $3 AND size <= $4
), bounded AS (
    SELECT max(depth) <= $3 AND max(size) <= $4 AS fits FROM chain
)
SELECT id, conversation, CASE WHEN fits THEN input END AS input, CASE WHEN fits THEN output END AS output
FROM chain CROSS JOIN bounded ORDER BY depth DESC

-- items_before: a conversation's items up to a turn's own (all if it has none); without content if they are too large
SELECT CASE WHEN sum(octet_length(data::text)) OVER () <= $3 THEN data END AS data FROM items
WHERE conversation = $1
  AND position < coalesce((SELECT min(position) FROM items WHERE conversation = $1 AND turn = $2), 9223372036854775807)
ORDER BY position

-- referenced: those of these items that stand in a tenant's conversations
SELECT items.data FROM items JOIN conversations ON conversations.id = items.conversation
WHERE conversations.id = ANY($1::text[]) AND conversations.tenant = $2 AND items.id = ANY($3::text[])

-- referenced_turns: what a tenant's turns hold
SELECT input, output FROM turns WHERE id = ANY($1::text[]) AND tenant = $2 AND stored

-- create_conversation: store a conversation with its first items
WITH created AS (
    INSERT INTO conversations (id, tenant, metadata) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING *
), first_items AS (
    INSERT INTO items (conversation, id, data)
    SELECT created.id, item.id, item.data
    FROM created CROSS JOIN unnest($4::text[], $5::json[]) WITH ORDINALITY AS item (id, data, place)
    ORDER BY item.place
    ON CONFLICT (conversation, id) DO NOTHING
)
SELECT * FROM created

-- conversation: read a tenant's conversation
SELECT * FROM conversations WHERE id = $1 AND tenant = $2

-- update_conversation: replace a conversation's metadata
UPDATE conversations SET metadata = $3 WHERE id = $1 AND tenant = $2 RETURNING *

-- delete_conversation: delete a conversation and its items
DELETE FROM conversations WHERE id = $1 AND tenant = $2 RETURNING id

-- add_items: extend a conversation
INSERT INTO items (conversation, id, data)
SELECT conversations.id, item.id, item.data
FROM conversations CROSS JOIN unnest($3::text[], $4::json[]) WITH ORDINALITY AS item (id, data, place)
WHERE conversations.id = $1 AND conversations.tenant = $2
ORDER BY item.place
ON CONFLICT (conversation, id) DO NOTHING

-- item: read an item of a conversation
SELECT data FROM items
WHERE conversation = (SELECT id FROM conversations WHERE id = $1 AND tenant = $2) AND id = $3

-- delete_item: delete an item of a conversation
DELETE FROM items
WHERE conversation = (SELECT id FROM conversations WHERE id = $1 AND tenant = $2) AND id = $3
RETURNING id

-- items_ascending: a page of a conversation's items, oldest first
SELECT data FROM items
WHERE conversation = (SELECT id FROM conversations WHERE id = $1 AND tenant = $2)
  AND position > coalesce((SELECT position FROM items WHERE conversation = $1 AND id = $3), 0)
ORDER BY position LIMIT $4

-- items_descending: a page of a conversation's items, newest first
SELECT data FROM items
WHERE conversation = (SELECT id FROM conversations WHERE id = $1 AND tenant = $2)
  AND position < coalesce((SELECT position FROM items WHERE conversation = $1 AND id = $3), 9223372036854775807)
ORDER BY position DESC LIMIT $4

-- secret: read a secret of the deployment
SELECT value FROM secrets WHERE name = $1
