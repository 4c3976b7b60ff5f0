//! How a signature is written.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// How a signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Encoding {
    /// Two hexadecimal digits for a byte, of either case.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 for URLs, without padding.
    Base64Url,
}

impl Encoding {
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => bytes.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string does not fail.
                let _ = write!(text, "{byte:02x}");
                text
            }),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        }
    }

    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex(text.as_bytes()),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
        }
    }
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16)?).ok();
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let bytes: Vec<u8> = (0..=255).collect();
        let bad: [(Encoding, &[&str]); 3] = [
            (Encoding::Hex, &["0", "0g", " 00", "+1", "é", "=", "00\n"]),
            (Encoding::Base64, &["0", "AA", "AB==", "-_8=", "é", "=", "AAAA\n"]),
            (Encoding::Base64Url, &["0", "AA==", "AB", "+/8", "é", "=", "AAAA\n"]),
        ];
        for (encoding, texts) in bad {
            assert_eq!(encoding.decode(&encoding.encode(&bytes)), Some(bytes.clone()), "{encoding:?}");
            for text in texts {
                assert_eq!(encoding.decode(text), None, "{encoding:?} {text:?}");
            }
        }
        assert_eq!(Encoding::Hex.decode("FFfe00"), Some(vec![255, 254, 0]));
    }
}
