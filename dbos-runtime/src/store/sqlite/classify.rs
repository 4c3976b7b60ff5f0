//! What SQLite's codes mean for us.

use crate::store::error::{StoreError, Verdict, classify as by_verdict};

pub(crate) fn classify(error: sqlx::Error) -> StoreError {
    by_verdict(error, verdict)
}

/// Extended codes carry the primary one in their low byte.
fn verdict(code: &str) -> Option<Verdict> {
    let code: u32 = code.parse().ok()?;
    Some(match code & 0xff {
        // BUSY and LOCKED.
        5 | 6 => Verdict::Contended,
        // NOMEM, IOERR and FULL: room may come back.
        7 | 10 | 13 => Verdict::Exhausted,
        // CANTOPEN.
        14 => Verdict::Lost,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_follow_their_primary_one() {
        let cases = [
            ("5", Some(Verdict::Contended)),
            ("517", Some(Verdict::Contended)),
            ("13", Some(Verdict::Exhausted)),
            ("14", Some(Verdict::Lost)),
            ("787", None),
            ("26", None),
            ("11", None),
        ];
        for (code, expected) in cases {
            assert_eq!(verdict(code), expected, "{code}");
        }
    }
}
