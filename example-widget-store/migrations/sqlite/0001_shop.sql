CREATE TABLE products (
    product_id  INTEGER PRIMARY KEY,
    product     TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    inventory   INTEGER NOT NULL CHECK (inventory >= 0),
    -- Text, because SQLite's numbers are floats.
    price       TEXT NOT NULL CHECK (price GLOB '[0-9]*.[0-9][0-9]')
);

CREATE TABLE orders (
    -- AUTOINCREMENT: the number of a deleted order is not given to another one.
    order_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    order_status       INTEGER NOT NULL DEFAULT 0 CHECK (order_status IN (-1, 0, 1, 2)),
    last_update_time   TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    progress_remaining INTEGER NOT NULL DEFAULT 10 CHECK (progress_remaining BETWEEN 0 AND 10),
    -- The id of the workflow that makes the purchase.
    payment_id         TEXT NOT NULL UNIQUE
);

-- The twins of the views that Postgres needs.

CREATE VIEW products_as_text AS
SELECT product_id, product, description, inventory, price
FROM products;

CREATE VIEW orders_as_text AS
SELECT order_id,
       order_status,
       strftime('%Y-%m-%dT%H:%M:%SZ', last_update_time) AS last_update_time,
       progress_remaining,
       payment_id
FROM orders;
