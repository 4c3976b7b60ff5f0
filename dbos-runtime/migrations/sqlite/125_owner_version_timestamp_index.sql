CREATE INDEX idx_application_versions_owner_timestamp
    ON application_versions (application_name, version_timestamp DESC);
