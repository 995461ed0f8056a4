-- Behind a pooler that shares sessions, notifications do not arrive. Therefore each change that is notified is also
-- stored here, and nodes behind such a pooler poll the table. Older programs keep working, and need no stop: the triggers
-- store their changes too.
CREATE TABLE changes (
    -- Null if the change may concern all users.
    user_id INTEGER,
    -- The transaction that has made the change. A number from a sequence would not do: transactions do not become visible
    -- in the order of their numbers, so a poll could miss the lower one of two.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp()
);
-- One row is enough for all changes of a user in one transaction. Rows of different transactions never conflict.
CREATE UNIQUE INDEX changes_by_transaction ON changes (xid, user_id);

CREATE OR REPLACE FUNCTION shoko_auth_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', OLD.user_id::text);
    INSERT INTO changes (user_id) VALUES (OLD.user_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION shoko_auth_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', OLD.id::text);
    INSERT INTO changes (user_id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION shoko_auth_all_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', '');
    INSERT INTO changes (user_id) VALUES (NULL);
    RETURN NULL;
END $$;

-- Returns the changes that have become visible since an earlier call, which returned `seen`, `seen_at` and `seen_server`.
-- It is a function because its plan is then stored in the session, so a poll costs a quarter. It is STABLE, so all of it
-- sees the database as of `snapshot`. The stored plan must use the index, even if the table was small when it was made.
CREATE FUNCTION shoko_auth_changes_since(
    seen pg_snapshot,
    seen_at BIGINT,
    seen_server TEXT,
    max_users INTEGER,
    OUT snapshot TEXT,
    -- In microseconds since the Unix epoch.
    OUT at BIGINT,
    -- Changes when the pooler leads to another server or another database, and when the server has crashed: numbers of
    -- transactions may then be used again. A crash resets the statistics.
    OUT server TEXT,
    -- Whether the server is a standby, which may lag behind.
    OUT is_standby BOOLEAN,
    -- Whether the changes since the earlier call are complete. They are not if rows may have been deleted in between.
    OUT is_complete BOOLEAN,
    -- The users who have changed. A null stands for all users. If there are more than `max_users`, only so many.
    OUT user_ids INTEGER[]
) LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    now_visible CONSTANT pg_snapshot := pg_current_snapshot();
BEGIN
    snapshot := now_visible;
    at := extract(epoch FROM statement_timestamp()) * 1000000;
    server := concat_ws(
        ' ',
        extract(epoch FROM pg_postmaster_start_time()),
        extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()),
        'changes'::regclass::oid
    );
    is_standby := pg_is_in_recovery();
    is_complete := coalesce(
        server = seen_server
            -- Rows are deleted after a minute at the earliest.
            AND at BETWEEN seen_at AND seen_at + 30000000
            AND pg_snapshot_xmax(now_visible) >= pg_snapshot_xmax(seen),
        FALSE
    );
    -- All transactions that have become visible: of those that began later, and of those that were running. Rows of
    -- running transactions are not read. With a condition on pg_snapshot_xmin, a poll would read more rows the longer any
    -- transaction on the server runs.
    user_ids := ARRAY(
        SELECT user_id FROM changes
        WHERE xid >= pg_snapshot_xmax(seen) AND xid < pg_snapshot_xmax(now_visible)
        UNION ALL
        SELECT user_id FROM changes
        WHERE xid = ANY (ARRAY(
            SELECT running FROM pg_snapshot_xip(seen) AS running WHERE pg_visible_in_snapshot(running, now_visible)
        ))
        LIMIT max_users
    );
END $$;
