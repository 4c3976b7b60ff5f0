CREATE INDEX idx_application_versions_timestamp
    ON application_versions (version_timestamp DESC);
