//! Secrets, and signatures that are checked against all of them.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};

use super::misconfigured::Misconfigured;

/// A shorter secret is guessed.
pub(super) const LEAST_BYTES: usize = 24;

/// The hash function of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// One or more secrets; while one is being replaced, both count.
#[derive(Clone)]
pub(super) struct Keys {
    algorithm: Algorithm,
    first: Keyed,
    others: Vec<Keyed>,
}

/// An HMAC that has its key, and nothing else yet.
#[derive(Clone)]
enum Keyed {
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Keys {
    pub(super) fn new(algorithm: Algorithm, secret: &[u8], least: usize) -> Result<Self, Misconfigured> {
        Ok(Self { algorithm, first: Keyed::new(algorithm, secret, least)?, others: Vec::new() })
    }

    /// One more secret.
    pub(super) fn with(mut self, secret: &[u8], least: usize) -> Result<Self, Misconfigured> {
        self.others.push(Keyed::new(self.algorithm, secret, least)?);
        Ok(self)
    }

    /// The signature of the parts, one after the other, with the first secret.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        match self.first.over(parts) {
            Keyed::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Keyed::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }

    /// Whether one of the signatures is one of ours. All are compared with all, each in constant time.
    pub(super) fn signed(&self, parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
        let mut signed = false;
        for key in std::iter::once(&self.first).chain(&self.others) {
            let mac = key.over(parts);
            for signature in signatures {
                signed |= mac.matches(signature);
            }
        }
        signed
    }
}

impl Keyed {
    fn new(algorithm: Algorithm, secret: &[u8], least: usize) -> Result<Self, Misconfigured> {
        if secret.len() < least {
            let (length, why) = (secret.len(), "an empty or a short one lets everybody sign");
            return Err(Misconfigured::new(format!("a secret has {length} bytes, not {least}: {why}")));
        }
        // An HMAC takes a key of any length, which its type does not say.
        let unusable = |_| Misconfigured::new("a secret cannot be used as a key");
        Ok(match algorithm {
            Algorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(secret).map_err(unusable)?),
            Algorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(secret).map_err(unusable)?),
        })
    }

    fn over(&self, parts: &[&[u8]]) -> Self {
        let mut keyed = self.clone();
        for part in parts {
            match &mut keyed {
                Self::Sha256(mac) => mac.update(part),
                Self::Sha512(mac) => mac.update(part),
            }
        }
        keyed
    }

    fn matches(&self, signature: &[u8]) -> bool {
        match self {
            Self::Sha256(mac) => mac.clone().verify_slice(signature).is_ok(),
            Self::Sha512(mac) => mac.clone().verify_slice(signature).is_ok(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?}, {})", self.algorithm, self.others.len() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_compared_with_every_secret() {
        let (old, new, foreign) = ([1; 24], [2; 24], [3; 24]);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let keys = |secret: &[u8]| Keys::new(algorithm, secret, LEAST_BYTES).unwrap();
            let both = keys(&new).with(&old, LEAST_BYTES).unwrap();
            let parts: [&[u8]; 3] = [b"1", b".", b"body"];
            let by = |secret: &[u8]| keys(secret).sign(&parts);
            assert!(both.signed(&parts, &[by(&old)]));
            assert!(both.signed(&parts, &[by(&new)]));
            assert!(both.signed(&parts, &[by(&foreign), vec![], by(&old)]));
            let mut truncated = by(&new);
            truncated.pop();
            let longer = [by(&new), vec![0]].concat();
            assert!(!both.signed(&parts, &[by(&foreign), vec![], truncated, longer]));
            assert!(!both.signed(&parts, &[]));
            assert!(!both.signed(&[b"1.bod", b"Y"], &[by(&new)]));
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        for length in [0, 1, 23] {
            assert!(Keys::new(Algorithm::Sha256, &vec![7; length], LEAST_BYTES).is_err(), "{length}");
        }
        let keys = Keys::new(Algorithm::Sha256, b"a-secret-that-nobody-sees", LEAST_BYTES).unwrap();
        assert!(keys.clone().with(b"", LEAST_BYTES).is_err());
        assert_eq!(format!("{keys:?}"), "Keys(Sha256, 1)");
    }
}
