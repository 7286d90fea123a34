-- The table that the examples share: what a product team's own database may hold.
CREATE TABLE IF NOT EXISTS accounts (
    email text PRIMARY KEY,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'new'
);
