//! Secrets at rest, and the comparison that tells nothing by the time it takes.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::principal::Principal;

/// A shorter secret is guessed.
const LEAST_BYTES: usize = 16;

type Hash = [u8; 32];

/// Whose secret it is, by its hash: the secret itself is not kept.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    known: Arc<Vec<(Hash, Principal)>>,
}

impl Secrets {
    pub(super) fn add(&mut self, hash: Hash, whose: Principal) -> Result<(), InvalidSecret> {
        if self.find(&hash).is_some() {
            return Err(InvalidSecret("the secret is given twice"));
        }
        Arc::make_mut(&mut self.known).push((hash, whose));
        Ok(())
    }

    /// Looks through all of them, whichever it is.
    pub(super) fn find(&self, hash: &Hash) -> Option<&Principal> {
        let (mut found, mut at) = (Choice::from(0), 0_u64);
        for (index, (known, _)) in (0_u64..).zip(self.known.iter()) {
            let same = known.ct_eq(hash);
            found |= same;
            at.conditional_assign(&index, same);
        }
        let (_, whose) = self.known.get(usize::try_from(at).ok()?)?;
        bool::from(found).then_some(whose)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(_, whose)| whose)).finish()
    }
}

/// The hash of a secret. It is long and random, so that nothing slower than SHA-256 is needed.
pub(super) fn hash(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

pub(super) fn strong(secret: &str) -> Result<(), InvalidSecret> {
    if secret.is_empty() {
        return Err(InvalidSecret("the secret is empty"));
    }
    if secret.len() < LEAST_BYTES {
        return Err(InvalidSecret("the secret has less than 16 bytes"));
    }
    Ok(())
}

/// A secret that an application may not be built with: empty or short, of characters that cannot be sent, or given
/// twice. The message does not repeat it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidSecret(pub(super) &'static str);

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidSecret {}
