//! The name of a delivery, as a part of ids.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::scope::hex;

const MOST_BYTES: usize = 128;

/// What tells a delivery of a source from all others: the sender's name for it, or a hash where that could be mistaken
/// for more than one part of an id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DeliveryId(String);

impl DeliveryId {
    pub(super) fn named(name: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-:".contains(&byte);
        let fits = (1..=MOST_BYTES).contains(&name.len()) && name.bytes().all(plain);
        // `::` separates a message's key from its address.
        if fits && !name.contains("::") && !name.starts_with(':') && !name.ends_with(':') {
            return Self(name.to_owned());
        }
        Self(hex(Sha256::new().chain_update(name), 32))
    }

    pub(super) fn of_content(parts: &[&[u8]]) -> Self {
        let hash = parts.iter().fold(Sha256::new(), |hash, part| {
            // With its length, so that no two lists run together into one.
            hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        });
        Self(hex(hash, 32))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_two_parts_is_hashed() {
        let longest = "d".repeat(128);
        for name in ["evt_1", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "msg_2.x~y", "a:b", longest.as_str()] {
            assert_eq!(DeliveryId::named(name).as_str(), name);
        }
        let longer = "d".repeat(129);
        for name in ["", "a::b", ":a", "a:", "a b", "a/b", "a!b", "é", "a\nb", longer.as_str()] {
            let id = DeliveryId::named(name);
            assert!(id.as_str().len() == 64 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
        assert_ne!(DeliveryId::named("a::b"), DeliveryId::named("a::c"));
    }

    #[test]
    fn contents_are_told_apart_part_by_part() {
        let id = |parts: &[&[u8]]| DeliveryId::of_content(parts);
        assert_eq!(id(&[b"1", b"body"]), id(&[b"1", b"body"]));
        assert_ne!(id(&[b"1", b"body"]), id(&[b"1b", b"ody"]));
        assert_ne!(id(&[b"body"]), id(&[b"body", b""]));
    }
}
