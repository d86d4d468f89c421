-- The register of agents in the state "deployed-green". The deployment has written version 2.0.0 and "active" over whatever each
-- agent was before, and kept the former rows in a table beside. Those were not all alike.

SET client_min_messages = warning;

-- A drill that was killed may still hold locks here.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();

BEGIN;

DROP SCHEMA IF EXISTS rollback CASCADE;
DROP TABLE IF EXISTS agents, agents_before_deployment;

CREATE TABLE agents (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    base_version text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'paused', 'retired')),
    updated_at timestamptz NOT NULL
);
INSERT INTO agents
SELECT number, 'agent-' || to_char(number, 'FM000'),
    CASE number % 10 WHEN 7 THEN '0.9.4' ELSE '1.0.0' END,
    CASE number % 10 WHEN 3 THEN 'paused' ELSE 'active' END,
    timestamptz '2025-06-02 08:00:00+00' + number * interval '1 hour'
FROM generate_series(1, :agents) AS number;

CREATE TABLE agents_before_deployment (LIKE agents INCLUDING ALL);
INSERT INTO agents_before_deployment SELECT * FROM agents;
UPDATE agents SET base_version = '2.0.0', status = 'active', updated_at = timestamptz '2025-08-01 10:00:00+00';

-- What production would give: it changes the register and takes that back, it reads what was before, and it owns a schema.
SELECT 'CREATE ROLE rollback' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rollback') \gexec
ALTER ROLE rollback LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON agents TO rollback;
GRANT SELECT ON agents_before_deployment TO rollback;
CREATE SCHEMA rollback AUTHORIZATION rollback;

COMMIT;

ANALYZE agents, agents_before_deployment;
