/** The tables of the store, as numbered steps. A step that has been released is never changed: the next one corrects it. */

export interface Migration {
  /** from 1, without gaps */
  readonly version: number;
  /** the oldest version of the tables whose program can work with these */
  readonly compatibleWith: number;
  readonly sql: string;
}

export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    compatibleWith: 1,
    sql: `
-- one row: the identity of the store, and the number of the last change
CREATE TABLE pgswitchyard.store (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  seq bigint NOT NULL DEFAULT 0
);
INSERT INTO pgswitchyard.store DEFAULT VALUES;

CREATE TABLE pgswitchyard.proxies (
  name text PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 255),
  -- of the process: a successor with the same name has another one
  instance uuid NOT NULL,
  peer_id integer UNIQUE CHECK (peer_id BETWEEN 1 AND 16383),
  address text NOT NULL CHECK (octet_length(address) <= 255),
  port integer NOT NULL CHECK (port BETWEEN 0 AND 65535),
  version text NOT NULL CHECK (octet_length(version) <= 64),
  state text NOT NULL CHECK (octet_length(state) <= 32),
  started_at timestamptz NOT NULL,
  heartbeat_at timestamptz NOT NULL DEFAULT now(),
  heartbeat_ms integer NOT NULL CHECK (heartbeat_ms > 0),
  snapshot jsonb NOT NULL CHECK (octet_length(snapshot::text) <= 8192)
);

-- what the proxies share about tenants: the last value of each key, in the order of the changes
CREATE TABLE pgswitchyard.shared (
  kind text NOT NULL CHECK (octet_length(kind) BETWEEN 1 AND 32),
  tenant text NOT NULL CHECK (octet_length(tenant) <= 255),
  key text NOT NULL CHECK (octet_length(key) <= 512),
  seq bigint NOT NULL UNIQUE,
  -- null: removed
  body jsonb CHECK (octet_length(body::text) <= 65536),
  proxy text NOT NULL CHECK (octet_length(proxy) <= 255),
  username text NOT NULL CHECK (octet_length(username) <= 255),
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (kind, tenant, key)
);

CREATE TABLE pgswitchyard.artifacts (
  hash text PRIMARY KEY CHECK (octet_length(hash) BETWEEN 1 AND 128),
  body bytea NOT NULL CHECK (octet_length(body) <= 33554432),
  created_at timestamptz NOT NULL DEFAULT now()
);
-- bundles are compressed already
ALTER TABLE pgswitchyard.artifacts ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE pgswitchyard.audit (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  proxy text NOT NULL CHECK (octet_length(proxy) <= 255),
  username text NOT NULL CHECK (octet_length(username) <= 255),
  source text NOT NULL CHECK (octet_length(source) <= 255),
  tenant text CHECK (octet_length(tenant) <= 255),
  action text NOT NULL CHECK (octet_length(action) <= 8192)
);
CREATE INDEX audit_at ON pgswitchyard.audit (at);
`,
  },
];

/** The version of the tables that this program makes, and works with. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/** The rights that a proxy needs, and no more. @param user quoted for SQL */
export function grantsFor(user: string): string {
  return `
GRANT USAGE ON SCHEMA pgswitchyard TO ${user};
GRANT SELECT ON ALL TABLES IN SCHEMA pgswitchyard TO ${user};
GRANT UPDATE (seq) ON pgswitchyard.store TO ${user};
GRANT INSERT, UPDATE, DELETE ON pgswitchyard.proxies TO ${user};
GRANT INSERT, UPDATE ON pgswitchyard.shared TO ${user};
GRANT INSERT, DELETE ON pgswitchyard.artifacts TO ${user};
GRANT INSERT, DELETE ON pgswitchyard.audit TO ${user};
`;
}
