-- The oldest version of the program that may use this database. A migration that older programs cannot work with
-- updates the row, see docs/release.md.
CREATE TABLE oldest_program (
    version TEXT NOT NULL
);
INSERT INTO oldest_program (version) VALUES ('0.1.0');
