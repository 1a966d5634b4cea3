-- Every statement about prompts. Each can be sent twice and do its work once, since an answer may be lost on the way.

-- create: store a prompt with its first version, which is the default, if the tenant has room for it
WITH created AS (
    INSERT INTO prompts (tenant, id, default_version)
    SELECT $1, $2, 1 WHERE (SELECT count(*) FROM prompts WHERE tenant = $1) < $5
    ON CONFLICT DO NOTHING
    RETURNING tenant, id
)
INSERT INTO prompt_versions (tenant, prompt, version, template, variables)
SELECT tenant, id, 1, $3, $4 FROM created
RETURNING prompt AS id, version, template, variables, true AS is_default

-- version: read a version of a tenant's prompt, by default the default
SELECT id, version, template, variables, version = default_version AS is_default
FROM prompts JOIN prompt_versions AS versions ON versions.tenant = prompts.tenant AND prompt = id
WHERE prompts.tenant = $1 AND id = $2 AND version = coalesce($3, default_version)

-- versions: read all versions of a tenant's prompt, oldest first
SELECT id, version, template, variables, version = default_version AS is_default
FROM prompts JOIN prompt_versions AS versions ON versions.tenant = prompts.tenant AND prompt = id
WHERE prompts.tenant = $1 AND id = $2
ORDER BY version

-- defaults: read the default versions of all of a tenant's prompts, newest prompt first; ids sort by time
SELECT id, version, template, variables, true AS is_default
FROM prompts JOIN prompt_versions AS versions
    ON versions.tenant = prompts.tenant AND prompt = id AND version = default_version
WHERE prompts.tenant = $1
ORDER BY id DESC

-- update: store the version that follows the latest, if that is the one it was made from; updates take turns
WITH updated AS (
    SELECT tenant, id FROM prompts WHERE tenant = $1 AND id = $2 FOR UPDATE
), made AS (
    INSERT INTO prompt_versions (tenant, prompt, version, template, variables)
    SELECT updated.tenant, updated.id, version + 1, $4, $5
    FROM updated JOIN prompt_versions AS latest ON latest.tenant = updated.tenant AND prompt = id AND version = $3
    WHERE version < $7
    ON CONFLICT DO NOTHING
    RETURNING tenant, prompt AS id, version, template, variables
), set_as_default AS (
    UPDATE prompts SET default_version = made.version
    FROM made
    WHERE prompts.tenant = made.tenant AND prompts.id = made.id AND $6
)
SELECT id, version, template, variables, $6 AS is_default FROM made

-- updated: read the version that this update has made before
SELECT id, version, template, variables, version = default_version AS is_default
FROM prompts JOIN prompt_versions AS versions ON versions.tenant = prompts.tenant AND prompt = id
WHERE prompts.tenant = $1 AND id = $2 AND version = $3 + 1 AND template = $4 AND variables = $5
  AND (version = default_version OR NOT $6)

-- latest: read the latest version of a tenant's prompt
SELECT id, version, template, variables, version = default_version AS is_default
FROM prompts JOIN prompt_versions AS versions ON versions.tenant = prompts.tenant AND prompt = id
WHERE prompts.tenant = $1 AND id = $2
ORDER BY version DESC LIMIT 1

-- set_default: make a version of a tenant's prompt its default
UPDATE prompts SET default_version = version
FROM prompt_versions AS versions
WHERE prompts.tenant = $1 AND id = $2 AND versions.tenant = prompts.tenant AND prompt = id AND version = $3
RETURNING id, version, template, variables, true AS is_default

-- delete: delete a tenant's prompt with its versions
DELETE FROM prompts WHERE tenant = $1 AND id = $2
