-- Every statement of the store. Each can be sent twice and do its work once, since an answer may be lost on the way.

-- accept: store a new turn at the end of its conversation's line, if what it refers to is there, the line is not longer
-- than it may be, and its key is not taken
WITH past AS (
    SELECT id, line FROM conversations WHERE id = $3 AND tenant = $2 FOR UPDATE
), accepted AS (
    INSERT INTO turns (id, tenant, conversation, previous, request, input, idempotency_key, fingerprint, stored, model, secrets)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
    WHERE ($3::text IS NULL OR EXISTS (SELECT FROM past WHERE cardinality(line) <= $12))
      AND ($4::text IS NULL OR EXISTS (SELECT FROM turns WHERE id = $4 AND tenant = $2 AND stored AND output IS NOT NULL))
    ON CONFLICT DO NOTHING
    RETURNING id, tenant, conversation
), opened AS (
    INSERT INTO open_turns (turn, tenant, conversation, due)
    SELECT id, tenant, conversation, now() + $13::interval FROM accepted
), lined AS (
    UPDATE conversations SET line = line || accepted.id FROM accepted WHERE conversations.id = accepted.conversation
)
SELECT accepted.id, coalesce(past.line, '{}') AS ahead FROM accepted LEFT JOIN past ON true

-- accepted: the turn of this id, or of this key, and whether it came with this body
SELECT turns.id, fingerprint = $4 AS same, coalesce(line[1:array_position(line, turns.id) - 1], '{}') AS ahead
FROM turns LEFT JOIN conversations ON conversations.id = turns.conversation
WHERE turns.tenant = $2 AND (turns.id = $1 OR idempotency_key = $3)

-- line: how many turns of a conversation have not ended
SELECT cardinality(line) AS length FROM conversations WHERE id = $1 AND tenant = $2

-- retried: the newest turn that came with this body since an id was made; ids sort by time
SELECT turns.id, coalesce(line[1:array_position(line, turns.id) - 1], '{}') AS ahead
FROM turns LEFT JOIN conversations ON conversations.id = turns.conversation
WHERE turns.tenant = $1 AND turns.id > $2 AND fingerprint = $3 ORDER BY turns.id DESC LIMIT 1

-- withdraw: take back a turn that could not be queued, and let the next one in its line go on
WITH withdrawn AS (
    DELETE FROM open_turns WHERE turn = $1 AND attempt = 0 RETURNING turn, conversation
), unlined AS (
    UPDATE conversations SET line = array_remove(line, $1) FROM withdrawn WHERE conversations.id = withdrawn.conversation
    RETURNING line[1] AS next
), deleted AS (
    DELETE FROM turns USING withdrawn WHERE turns.id = withdrawn.turn
)
SELECT next FROM withdrawn LEFT JOIN unlined ON true

-- turn: read a tenant's turn
SELECT turns.*, coalesce(open_turns.attempt, 0) AS attempt, coalesce(open_turns.handovers, 0) AS handovers
FROM turns LEFT JOIN open_turns ON open_turns.turn = turns.id WHERE id = $1 AND turns.tenant = $2

-- turns_ascending: a page of a tenant's turns, oldest first; ids sort by the time they were made
SELECT turns.*, coalesce(open_turns.attempt, 0) AS attempt, coalesce(open_turns.handovers, 0) AS handovers
FROM turns LEFT JOIN open_turns ON open_turns.turn = turns.id
WHERE turns.tenant = $1 AND stored AND id > coalesce($2, '') AND ($3::text IS NULL OR id < $3) AND ($4::text IS NULL OR model = $4)
ORDER BY id LIMIT $5

-- turns_descending: a page of a tenant's turns, newest first
SELECT turns.*, coalesce(open_turns.attempt, 0) AS attempt, coalesce(open_turns.handovers, 0) AS handovers
FROM turns LEFT JOIN open_turns ON open_turns.turn = turns.id
WHERE turns.tenant = $1 AND stored AND ($2::text IS NULL OR id < $2) AND id > coalesce($3, '') AND ($4::text IS NULL OR model = $4)
ORDER BY id DESC LIMIT $5

-- delete_turn: delete a turn that has ended, with its journal; its conversation keeps the items
WITH deleted AS (
    DELETE FROM turns WHERE id = $1 AND tenant = $2 AND output IS NOT NULL RETURNING id
), closed AS (
    DELETE FROM open_turns USING deleted WHERE open_turns.turn = deleted.id
), unjournalled AS (
    DELETE FROM steps USING deleted WHERE steps.turn = deleted.id
)
SELECT id FROM deleted

-- claim: take a turn that nobody holds, if it is the first in its conversation's line or is to be ended, since it was
-- cancelled or its time is over; one whose items are kept has its place in the conversation and waits for it, all the
-- same. The same owner asking again keeps its attempt
WITH taken AS (
    UPDATE open_turns
    SET attempt = attempt + (owner IS DISTINCT FROM $2)::int, owner = $2, until = now() + $3
    WHERE turn = $1
      AND (until IS NULL OR until < now() OR owner = $2)
      AND (conversation IS NULL
        OR NOT EXISTS (SELECT FROM conversations WHERE id = conversation AND turn = ANY(line[2:]))
        OR due < now()
        OR EXISTS (SELECT FROM turns WHERE id = $1 AND status = 'cancelled' AND NOT kept))
    RETURNING turn, attempt, handovers, finished
)
SELECT turns.*, taken.attempt, taken.handovers, taken.finished FROM taken JOIN turns ON turns.id = taken.turn

-- claimed: find a turn that is open, if this attempt is the last at it
SELECT turn FROM open_turns WHERE turn = $1 AND attempt = $2

-- renew: prolong the leases of these turns; say which of them are still these owners', and which of those are cancelled
UPDATE open_turns SET until = now() + $3
FROM unnest($1::text[], $2::text[]) AS held (id, owner), turns
WHERE open_turns.turn = held.id AND open_turns.owner = held.owner AND turns.id = held.id
RETURNING open_turns.owner, turns.status = 'cancelled' AS cancelled

-- release: give up a turn for another worker to take; it counts as no failed attempt
UPDATE open_turns SET owner = NULL, until = NULL, handovers = $3, queued_at = now() WHERE turn = $1 AND owner = $2

-- excuse: say, as its owner, how many of a turn's attempts do not count
UPDATE open_turns SET handovers = $3 WHERE turn = $1 AND owner = $2 RETURNING turn

-- finish: end a turn, extend its conversation and let the next one in its line go on, unless another attempt has it; a
-- cancelled turn stays cancelled
WITH held AS (
    UPDATE open_turns SET finished = true WHERE turn = $1 AND attempt = $2 AND NOT finished RETURNING turn
), finished AS (
    UPDATE turns
    SET status = CASE status WHEN 'cancelled' THEN status ELSE $3 END,
        output = $4, usage = $5, service_tier = $10,
        error = CASE status WHEN 'cancelled' THEN NULL ELSE $6::json END,
        incomplete = CASE status WHEN 'cancelled' THEN NULL ELSE $7::json END,
        completed_at = coalesce(completed_at, now()),
        stood_behind = coalesce((SELECT max(position) FROM items WHERE items.conversation = turns.conversation), 0),
        secrets = substring(secrets FOR 0) -- erased, and not null: a replay knows by it that something is missing
    FROM held
    WHERE id = held.turn
    RETURNING id, conversation, status, error, incomplete, completed_at, kept
), extended AS (
    INSERT INTO items (conversation, id, turn, data)
    SELECT conversations.id, item.id, finished.id, item.data
    FROM finished
    JOIN conversations ON conversations.id = finished.conversation
    CROSS JOIN unnest($8::text[], $9::json[], $11::boolean[]) WITH ORDINALITY AS item (id, data, whole, place)
    WHERE (finished.status IN ('completed', 'incomplete') OR (finished.kept AND item.whole))
      -- One whose time was over while it waited for others has said nothing, and must not stand before them.
      AND finished.id <> ALL(conversations.line[2:])
    ORDER BY item.place
    ON CONFLICT (conversation, id) DO NOTHING
), moved AS (
    UPDATE conversations SET line = array_remove(line, $1) FROM finished WHERE conversations.id = finished.conversation
    RETURNING line[1] AS next
)
SELECT status, error, incomplete, completed_at, moved.next FROM finished LEFT JOIN moved ON true

-- finished: read how an attempt has finished
SELECT status, error, incomplete, completed_at, line[1] AS next
FROM open_turns JOIN turns ON turns.id = open_turns.turn LEFT JOIN conversations ON conversations.id = turns.conversation
WHERE turn = $1 AND attempt = $2 AND finished

-- close: forget that these turns were open, since their last events are stored
DELETE FROM open_turns WHERE turn = ANY($1::text[]) AND finished

-- closed: tell whether a turn is open no more
SELECT NOT EXISTS (SELECT FROM open_turns WHERE turn = $1) AS closed

-- cancel: end a turn that has not ended
UPDATE turns SET status = 'cancelled', completed_at = now()
FROM open_turns
WHERE id = $1 AND turns.tenant = $2 AND status = 'queued' AND output IS NULL AND turn = id
RETURNING turns.*, attempt, handovers

-- cancel_line: end these turns, as far as they have not ended, for one behind them; their conversation keeps what they
-- finished, or not
UPDATE turns SET status = 'cancelled', completed_at = now(), kept = $2
WHERE id = ANY($1::text[]) AND tenant = $3 AND status = 'queued' AND output IS NULL
RETURNING id

-- forget: erase what a turn asked and answered
WITH unjournalled AS (
    DELETE FROM steps WHERE turn = $1
)
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
SELECT id, previous, conversation, CASE WHEN fits THEN input END AS input, CASE WHEN fits THEN output END AS output
FROM chain CROSS JOIN bounded ORDER BY depth DESC

-- items_before: a conversation's items up to a turn's own (all if that has not ended), without content if they are too
-- large; no row if the conversation is gone, and one with no item if it has none
SELECT position, CASE WHEN sum(octet_length(data::text)) OVER () <= $3 THEN data END AS data
FROM conversations LEFT JOIN items ON items.conversation = conversations.id
  AND position <= coalesce((SELECT stood_behind FROM turns WHERE id = $2), 9223372036854775807)
WHERE conversations.id = $1 AND tenant = $4
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
DELETE FROM conversations WHERE id = $1 AND tenant = $2 RETURNING line

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

-- journal: write steps, as the attempt that holds the turn; an approval goes to the first call that is begun with it
WITH held AS (
    SELECT attempt, tenant FROM open_turns WHERE turn = $1 AND attempt = $2 AND NOT finished FOR SHARE
), approved AS (
    INSERT INTO approvals (tenant, request, turn, step, call)
    SELECT held.tenant, approved.request, $1, approved.step, approved.call
    FROM held CROSS JOIN unnest($13::text[], $14::int[], $15::text[]) AS approved (request, step, call)
    ORDER BY approved.request -- two turns that take the same ones cannot wait for each other
    ON CONFLICT DO NOTHING
), written AS (
    INSERT INTO steps (turn, number, kind, name, attempt, state, digest, items, usage, started_at, finished_at)
    SELECT $1, step.*
    FROM held CROSS JOIN unnest(
        $3::int[], $4::text[], $5::text[], $6::int[], $7::text[], $8::bytea[], $9::json[], $10::json[], $11::timestamptz[], $12::timestamptz[]
    ) AS step
    ON CONFLICT (turn, number) DO UPDATE
    SET state = excluded.state, items = excluded.items, usage = excluded.usage, finished_at = excluded.finished_at
)
SELECT attempt FROM held

-- approved: the call that an approval has gone to, and how far it is
SELECT approvals.turn, step, call, state, items,
    EXISTS (SELECT FROM open_turns WHERE open_turns.turn = approvals.turn AND NOT finished) AS open
FROM approvals LEFT JOIN steps ON steps.turn = approvals.turn AND steps.number = approvals.step
WHERE tenant = $1 AND request = $2

-- steps: read a turn's journal
SELECT number, kind, name, attempt, state, digest, items, usage, started_at, finished_at
FROM steps WHERE turn = $1 ORDER BY number

-- owners: the workers that hold turns
SELECT DISTINCT split_part(owner, '/', 1) AS worker FROM open_turns WHERE owner IS NOT NULL

-- take_over: free turns that these workers hold, which died; return what their messages are given back by. One worker at
-- a time does so, here and below, by a lock that no dead one can hold, since it ends with the statement. Of rows that
-- another statement has in its hands it waits for none: so no two statements can wait for each other
WITH held AS (
    SELECT turn, owner FROM open_turns
    WHERE (SELECT pg_try_advisory_xact_lock(8321, 1)) AND split_part(owner, '/', 1) = ANY($1::text[])
    ORDER BY finished LIMIT $2 FOR UPDATE SKIP LOCKED
), freed AS (
    UPDATE open_turns SET owner = NULL, until = NULL, queued_at = now() FROM held WHERE open_turns.turn = held.turn
    RETURNING split_part(held.owner, '/', 2) AS receipt, finished
)
SELECT receipt FROM freed ORDER BY finished

-- lost: find turns that could be claimed and that no message stands for: those whose lease is over, and those that
-- were queued longer ago than this. They count as queued now, so that nobody else finds them too
WITH lost AS (
    SELECT turn FROM open_turns
    WHERE (SELECT pg_try_advisory_xact_lock(8321, 2))
      AND (until < now() OR (owner IS NULL AND queued_at < now() - $1::interval))
      AND (conversation IS NULL
        OR NOT EXISTS (SELECT FROM conversations WHERE id = conversation AND turn = ANY(line[2:]))
        OR due < now()
        OR (SELECT status = 'cancelled' AND NOT kept FROM turns WHERE id = turn)) -- by EXISTS it may read them all
    ORDER BY queued_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE open_turns SET owner = NULL, until = NULL, queued_at = now() FROM lost WHERE open_turns.turn = lost.turn
RETURNING open_turns.turn, tenant, attempt, extract(epoch FROM queued_at) AS queued_at

-- overdue: find turns that nobody holds and whose time is over, so long after they were accepted where their clients have
-- said nothing else. They can be claimed now, whatever they wait for; they count as queued, and are not found again
WITH overdue AS (
    SELECT turn FROM open_turns
    WHERE (SELECT pg_try_advisory_xact_lock(8321, 3))
      AND owner IS NULL AND NOT finished AND coalesce(due, accepted_at + $1::interval) BETWEEN queued_at AND now()
    ORDER BY queued_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE open_turns SET due = coalesce(due, accepted_at + $1), queued_at = now() FROM overdue
WHERE open_turns.turn = overdue.turn
RETURNING open_turns.turn
