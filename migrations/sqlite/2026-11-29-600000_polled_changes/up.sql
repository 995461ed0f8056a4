-- Only PostgreSQL changes. The table exists here already.
SELECT 1;
