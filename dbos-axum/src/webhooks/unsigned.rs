//! No signature, said aloud.

use dbos_runtime::Timestamp;
use http::HeaderMap;

use super::scheme::{Refused, SignatureScheme, Verified};

/// Takes deliveries from everybody, without a proof: for a source behind something else that authenticates.
///
/// A delivery is told from others by its body.
#[derive(Clone, Debug)]
pub struct Unsigned(());

impl Unsigned {
    /// The scheme that is none. Whoever can reach the route can send whatever they like.
    pub fn i_understand() -> Self {
        Self(())
    }
}

impl SignatureScheme for Unsigned {
    fn verify(&self, _: &HeaderMap, body: &[u8], _: Timestamp) -> Result<Verified, Refused> {
        Ok(Verified::by_content(&[body]))
    }
}
