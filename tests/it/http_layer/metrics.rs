//! What the metrics page says.
