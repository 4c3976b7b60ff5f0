//! What nobody may guess, and no log may show.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A configured or made-up secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from elsewhere.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A fresh bearer token.
    pub fn token() -> Self {
        Self(random_hex())
    }

    /// A fresh secret for signed webhooks, in the form of Standard Webhooks.
    pub fn webhook() -> Self {
        Self(format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>())))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// 256 random bits as 64 characters.
pub(crate) fn random_hex() -> String {
    let [high, low] = rand::random::<[u128; 2]>();
    format!("{high:032x}{low:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_fresh_and_hidden() {
        for make in [Secret::token, Secret::webhook] {
            let (one, other) = (make(), make());
            assert_ne!(one, other);
            assert!(one.reveal().len() >= 44);
            assert_eq!(format!("{one:?}"), "Secret(…)");
        }
    }
}
