//! Ready extractors that say who is asking.

mod anyone;

pub use anyone::AllowAnyone;
