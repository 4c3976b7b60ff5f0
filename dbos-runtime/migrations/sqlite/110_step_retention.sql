-- A column cannot be added with a clock for its default; 112 rebuilds the table and gives it one.
ALTER TABLE operation_outputs ADD COLUMN retention_timestamp INTEGER;
