DROP INDEX IF EXISTS idx_notifications;
