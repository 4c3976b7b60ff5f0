-- Whose order it is. Orders from before there were visitors are nobody's.
ALTER TABLE orders ADD COLUMN owner TEXT NOT NULL DEFAULT '';

CREATE INDEX orders_of_an_owner ON orders (owner, order_id);

DROP VIEW orders_as_text;

CREATE VIEW orders_as_text AS
SELECT order_id,
       order_status,
       to_char(last_update_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS last_update_time,
       progress_remaining,
       payment_id,
       owner
FROM orders;
