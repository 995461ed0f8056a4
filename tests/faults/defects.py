"""Deliberate defects, planted by `scripts/test-faults --defects`. An experiment that misses its defect proves nothing.

- `lost writes`: keys that the server has revoked come back, as on a database that loses acknowledged writes.
- `too few connections`: the server may open only few files, so slow clients take all of its connections.
- `undone revocations`: triggers insert revoked keys again.
- `wrong clock`: the server restarts while its clock is wrong, or one node reads a wrong time from PostgreSQL.
- `lost notifications`: revocations on one node do not reach the other, because a trigger of the change feed is gone.
"""

from model import Unseen

COLUMNS = "id, user_id, device, device_folded, hash, created_at, epoch"
# In seconds.
TIMEOUT = 60


async def copy_keys(lab, server, storm):
    """Copies all keys and waits until some of them have been revoked."""
    if lab.defect != "lost writes":
        return
    lab.sql(server, "DROP TABLE IF EXISTS old_keys; CREATE TABLE old_keys AS SELECT * FROM api_keys")
    enough = revoked(storm) + 20
    if not await storm.wait(TIMEOUT, until=lambda: revoked(storm) >= enough):
        raise Unseen("no key was revoked, so none could be lost")


def revoked(storm):
    return storm.counts().get("revocations", 0)


def restore_keys(lab, server):
    """Inserts the copied keys that have been deleted since."""
    if lab.defect == "lost writes":
        lab.sql(
            server,
            f"INSERT INTO api_keys ({COLUMNS}) SELECT {COLUMNS} FROM old_keys WHERE id NOT IN (SELECT id FROM api_keys)",
        )


def open_files(lab):
    """Returns the limit of open files for the server, or `None` for the normal one."""
    return 300 if lab.defect == "too few connections" else None


def plant_triggers(lab, server):
    """Plants the defects of the experiments in which several clients use one key."""
    if lab.defect == "lost notifications":
        lab.sql(server, "DROP TRIGGER key_deleted" + (" ON api_keys" if server.url else ""))
    if lab.defect == "undone revocations":
        old = ", ".join(f"OLD.{column}" for column in COLUMNS.split(", "))
        insert = f"INSERT INTO api_keys ({COLUMNS}) VALUES ({old});"
        event = "CREATE TRIGGER undo AFTER DELETE ON api_keys"
        if server.url:
            function = f"CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert} RETURN NULL; END $$;"
            lab.sql(server, f"{function} {event} FOR EACH ROW WHEN (OLD.id % 20 = 0) EXECUTE FUNCTION undo()")
        else:
            lab.sql(server, f"{event} WHEN OLD.id % 20 = 0 BEGIN {insert} END")


def restart(lab, server):
    """Restarts a server, which then cannot detect that the clock of its machine has jumped."""
    if lab.defect == "wrong clock" and not server.url:
        server.kill()
        server.start()


def url_of_second_node(lab, server):
    """Returns the database of a second node. With the defect, its sessions read a clock that is an hour ahead."""
    if lab.defect != "wrong clock":
        return server.url
    function = "FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE SQL"
    lab.sql(server, f"CREATE {function} RETURN pg_catalog.clock_timestamp() + interval '1 hour'")
    # Other sessions look up functions in `pg_catalog` first.
    return f"{server.url}?options=-c%20search_path%3Dpublic,pg_catalog"
