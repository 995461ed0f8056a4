PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE __diesel_schema_migrations (
       version VARCHAR(50) PRIMARY KEY NOT NULL,
       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO __diesel_schema_migrations VALUES('20261122000000','2026-11-29 11:03:09');
INSERT INTO __diesel_schema_migrations VALUES('20261122100000','2026-11-29 11:03:09');
INSERT INTO __diesel_schema_migrations VALUES('20261122200000','2026-11-29 11:03:09');
INSERT INTO __diesel_schema_migrations VALUES('20261122300000','2026-11-29 11:03:09');
INSERT INTO __diesel_schema_migrations VALUES('20261122400000','2026-11-29 11:03:09');
INSERT INTO __diesel_schema_migrations VALUES('20261122500000','2026-11-29 11:03:09');
INSERT INTO __diesel_schema_migrations VALUES('20261122600000','2026-11-29 11:03:09');
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    email TEXT,
    email_folded TEXT UNIQUE,
    -- A PHC string; changed together with password_version, except by a rehash of the same password.
    password TEXT NOT NULL,
    password_version INTEGER NOT NULL DEFAULT 1,
    is_admin BOOLEAN NOT NULL DEFAULT FALSE,
    is_disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMP NOT NULL,
    -- What Shoko's clients keep with a user and nobody here reads; the first two as JSON arrays.
    community_sites TEXT NOT NULL DEFAULT '[]',
    restricted_tags TEXT NOT NULL DEFAULT '[]',
    avatar TEXT NOT NULL DEFAULT '',
    plex_usernames TEXT NOT NULL DEFAULT ''
, is_automatic BOOLEAN NOT NULL DEFAULT FALSE);
INSERT INTO users VALUES(1,'Default','default',NULL,NULL,'$pbkdf2-sha256$i=1000,l=32$Ek8+8loF1S6XYvI+cHqejg$uS6TiN5+/dnwLECJjMEPe9GkGvGCWixpvTZ02cvEr2Y',1,1,0,'2026-11-29 11:03:09.828972','[]','[]','','',0);
INSERT INTO users VALUES(2,'bob','bob','bob@example.org','bob@example.org','$pbkdf2-sha256$i=1000,l=32$7z8XGqQqoOGbkRmn8K8iuA$r1xniWQ1zm0bfL0JgfAofRwnWMey74uf0R2qTt71L0w',1,0,0,'2026-11-29 11:03:09.974387','[]','[]','','',0);
INSERT INTO users VALUES(3,'carol','carol',NULL,NULL,'$pbkdf2-sha256$i=1000,l=32$kCQ7arRIDLKMyO4kQmMe0g$5bisW/1HYh/vnmHAxWb4KD4LXUly805+eTiE3KcbHos',1,1,0,'2026-11-29 11:03:10.040939','[]','[]','','',0);
INSERT INTO users VALUES(4,'dave','dave',NULL,NULL,'$pbkdf2-sha256$i=1000,l=32$3hfj29cSzQla2SmAIuWyoQ$B/7jvhXZsjL1KNC0KLzgixXBVyy+V/0OIVVqPiRvnhw',1,0,1,'2026-11-29 11:03:10.062631','[]','[]','','',0);
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device TEXT NOT NULL,
    device_folded TEXT NOT NULL,
    -- SHA-256 of the key's 16 bytes.
    hash BLOB NOT NULL UNIQUE,
    -- The key, sealed; null when this row is not the one to hand out again for its device.
    sealed BLOB,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP
, is_renewable BOOLEAN NOT NULL DEFAULT FALSE, last_used_at TIMESTAMP, last_used_from TEXT);
INSERT INTO api_keys VALUES(1,1,'kodi','kodi',X'bae2ef85479f0e8595d4daf5931ad235ecf4da91f4aa07720916cac5faf5d3e6',X'018c1229ed8873a906c5d0f3cd1a098c594a214ca454895a98b6321abffe434c0df0d40eebf0988cce1689e26d52231ecbd3eaeba6a9c7b29d','2026-11-29 11:03:10.097663',NULL,0,NULL,NULL);
INSERT INTO api_keys VALUES(2,2,'Bobs Telefon ☎','bobs telefon ☎',X'7774b4769010077a0901ae88fb291761563a6c42b3cb928bc251df1817fe4d51',X'01012c261f2eaade4d0395154692da1aab1f8919b0419188617f27d8510028b305d4e3bb96cab343372476767dfaffcb24d190811c1a179aa2','2026-11-29 11:03:10.463665',NULL,0,NULL,NULL);
INSERT INTO api_keys VALUES(3,3,'web-ui','web-ui',X'fe8aa67dff89cb8606bf23557050a81d61c502934413b19b5ef73e9ffcf42c38',X'0145f59a106d230b94c65d2a845c3bced95712cb5ada22a6a7afaf3e89bb3b50d68a0d290f9063ac801f5d81cf475f17c0ca61721445e7ae75','2026-11-29 11:03:10.790077',NULL,0,NULL,NULL);
INSERT INTO api_keys VALUES(5,4,'kodi','kodi',X'4cd862cab384b2d05859fa622e5ca137657950fcd6cc90193cfd6c918796ec0f',X'01a1b20dbdc945e3a10fdb3332027099a79947a8045262856a44a6b8f788f862428384a5514ca754afbb9303a7fc656e3bd85f5e42945b1ce4','2026-11-29 11:03:11.375244',NULL,0,NULL,NULL);
CREATE TABLE preferences (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE login_failures (
    -- A folded name, whether there is such a user or not.
    account TEXT NOT NULL,
    network TEXT NOT NULL,
    failures INTEGER NOT NULL,
    first_at TIMESTAMP NOT NULL,
    last_at TIMESTAMP NOT NULL,
    -- Tries that have begun and are not yet counted, the last of them when.
    pending INTEGER NOT NULL,
    pending_at TIMESTAMP NOT NULL,
    PRIMARY KEY (account, network)
);
INSERT INTO login_failures VALUES('','127.0.0.1/32',0,'2026-11-29 11:03:10.090686','2026-11-29 11:03:10.090686',0,'2026-11-29 11:03:11.359337');
INSERT INTO login_failures VALUES('default','',0,'2026-11-29 11:03:10.090686','2026-11-29 11:03:10.090686',0,'2026-11-29 11:03:10.090686');
INSERT INTO login_failures VALUES('bob','',0,'2026-11-29 11:03:10.430911','2026-11-29 11:03:10.430911',0,'2026-11-29 11:03:10.430911');
INSERT INTO login_failures VALUES('carol','',0,'2026-11-29 11:03:10.780375','2026-11-29 11:03:10.780375',0,'2026-11-29 11:03:10.780375');
INSERT INTO login_failures VALUES('carol','127.0.0.1/32',0,'2026-11-29 11:03:11.132043','2026-11-29 11:03:11.132043',0,'2026-11-29 11:03:11.132043');
INSERT INTO login_failures VALUES('dave','',0,'2026-11-29 11:03:11.359337','2026-11-29 11:03:11.359337',0,'2026-11-29 11:03:11.359337');
CREATE TABLE known_networks (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    last_login_at TIMESTAMP NOT NULL,
    PRIMARY KEY (user_id, network)
);
INSERT INTO known_networks VALUES(1,'127.0.0.1/32','2026-11-29 11:03:10.095053');
INSERT INTO known_networks VALUES(2,'127.0.0.1/32','2026-11-29 11:03:10.455694');
INSERT INTO known_networks VALUES(3,'127.0.0.1/32','2026-11-29 11:03:10.786697');
INSERT INTO known_networks VALUES(4,'127.0.0.1/32','2026-11-29 11:03:11.368640');
CREATE TABLE changes (
    user_id INTEGER PRIMARY KEY NOT NULL,
    number INTEGER NOT NULL UNIQUE
);
INSERT INTO changes VALUES(3,1);
INSERT INTO changes VALUES(4,2);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('users',4);
INSERT INTO sqlite_sequence VALUES('api_keys',5);
CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, device_folded) WHERE sealed IS NOT NULL;
CREATE INDEX api_keys_of_user ON api_keys (user_id);
CREATE INDEX login_failures_by_age ON login_failures (last_at);
CREATE INDEX known_networks_by_age ON known_networks (last_login_at);
CREATE TRIGGER key_deleted AFTER DELETE ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
CREATE TRIGGER user_deleted AFTER DELETE ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
CREATE TRIGGER key_replaced BEFORE INSERT ON api_keys
WHEN EXISTS (
    SELECT 1 FROM api_keys WHERE id = NEW.id OR hash = NEW.hash
    OR (sealed IS NOT NULL AND user_id = NEW.user_id AND device_folded = NEW.device_folded)
) BEGIN
    INSERT INTO changes (user_id, number)
    SELECT user_id, (SELECT coalesce(max(number), 0) FROM changes) + row_number() OVER ()
    FROM (
        SELECT DISTINCT user_id FROM api_keys WHERE id = NEW.id OR hash = NEW.hash
        OR (sealed IS NOT NULL AND user_id = NEW.user_id AND device_folded = NEW.device_folded)
    )
    WHERE TRUE
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
CREATE TRIGGER user_replaced BEFORE INSERT ON users
WHEN EXISTS (
    SELECT 1 FROM users WHERE id = NEW.id OR name_folded = NEW.name_folded OR email_folded = NEW.email_folded
) BEGIN
    INSERT INTO changes (user_id, number)
    SELECT id, (SELECT coalesce(max(number), 0) FROM changes) + row_number() OVER ()
    FROM users WHERE id = NEW.id OR name_folded = NEW.name_folded OR email_folded = NEW.email_folded
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
COMMIT;
