//! From a key to a workflow's id.

use std::fmt::Write as _;

use dbos_runtime::WorkflowId;
use sha2::{Digest, Sha256};

use crate::key::IdempotencyKey;
use crate::principal::Principal;
use crate::problem::{self, Problem};

/// An anonymous caller's key has to be as hard to guess as a password, because it is one.
const ANONYMOUS_BYTES: usize = 32;
/// A longer name is stored as its hash, so that every id stays under the runtime's 512 bytes.
const SEGMENT_BYTES: usize = 128;
/// Separates a sub-key; no key has it.
pub(crate) const SUB: char = '!';
/// Ids and keys that others make: schedules, the runtimes' own workflows, this crate's.
const RESERVED: [&str; 6] = ["sched-", "dbos", "_dbos", "h1:", "wh:", "cb:"];

/// Keys belong to the caller who sent them: the default.
///
/// The id of a workflow is `h1:{workflow}:{key}:{scope}`, where the scope is a hash of the caller's tenant and user, so
/// two users with the same key have two workflows, and so have two workflows under one key. Nobody's name is in an id.
///
/// A caller who is anonymous needs a key of at least 32 characters, which is then the secret that the scope is made
/// of. Use a random one.
#[derive(Clone, Copy, Default, Debug)]
#[non_exhaustive]
pub struct Scoped;

/// A key is the workflow's id as it stands, as in the other DBOS SDKs.
///
/// For use among services that trust each other: whoever knows the id of a workflow can attach to it, and an id like
/// `inv-7-1` is also the first child of `inv-7`. Keys that begin with `sched-`, `dbos`, `_dbos`, `h1:`, `wh:` or `cb:` are
/// refused.
///
/// A message without a topic has the key as it stands too. One with a topic has a key of that topic, where the other SDKs
/// would drop the second of two messages to different topics.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim;

/// How keys become ids: [`Scoped`] or [`Verbatim`].
#[derive(Clone, Copy, Debug)]
pub struct KeyMapping(Rule);

#[derive(Clone, Copy, Debug)]
enum Rule {
    Scoped,
    Verbatim,
}

impl From<Scoped> for KeyMapping {
    fn from(_: Scoped) -> Self {
        Self(Rule::Scoped)
    }
}

impl From<Verbatim> for KeyMapping {
    fn from(_: Verbatim) -> Self {
        Self(Rule::Verbatim)
    }
}

/// A key with all that gives it its meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed<'a> {
    pub(crate) key: &'a IdempotencyKey,
    /// Tells several operations of one request apart.
    pub(crate) sub_key: Option<&'a str>,
    pub(crate) owner: &'a Principal,
}

impl KeyMapping {
    pub(crate) fn is_verbatim(self) -> bool {
        matches!(self.0, Rule::Verbatim)
    }

    /// The id of the workflow of that name.
    pub(crate) fn workflow_id(self, workflow: &str, keyed: Keyed<'_>) -> Result<WorkflowId, Problem> {
        Ok(WorkflowId::parse(self.text(workflow, keyed)?)?)
    }

    /// The key of a message on that topic.
    pub(crate) fn message_key(self, topic: &str, keyed: Keyed<'_>) -> Result<String, Problem> {
        let mut key = self.text(topic, keyed)?;
        if self.is_verbatim() && !topic.is_empty() {
            // Behind the place of a sub-key. Where there is none the place is empty, and no sub-key's segment is.
            key.extend(keyed.sub_key.is_none().then_some(SUB));
            key.push(SUB);
            key.push_str(&segment(topic));
        }
        Ok(key)
    }

    fn text(self, name: &str, keyed: Keyed<'_>) -> Result<String, Problem> {
        let mut key = keyed.key.as_str().to_owned();
        if let Some(sub_key) = keyed.sub_key {
            key.push(SUB);
            key.push_str(&segment(sub_key));
        }
        match self.0 {
            Rule::Verbatim if RESERVED.iter().any(|prefix| key.starts_with(prefix)) => {
                Err(refused("A key must not begin with 'sched-', 'dbos', '_dbos', 'h1:', 'wh:' or 'cb:'."))
            }
            Rule::Verbatim => Ok(key),
            // The scope comes last: every id of ours ends in 32 hex digits behind a colon, which the id of a child,
            // `{parent}-{n}`, never does.
            Rule::Scoped => Ok(format!("h1:{}:{key}:{}", segment(name), scope(keyed)?)),
        }
    }
}

/// 32 hex digits that stand for the caller.
fn scope(keyed: Keyed<'_>) -> Result<String, Problem> {
    let mut hash = Sha256::new();
    match keyed.owner.user() {
        Some(user) => {
            hash.update("dbos-axum/1");
            for part in [keyed.owner.tenant().unwrap_or_default(), user] {
                // With its length, so that no two pairs run together into one.
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        None if keyed.key.as_str().len() < ANONYMOUS_BYTES => {
            return Err(refused(
                "Without authentication a key needs at least 32 characters. Use a random one, a UUID for example.",
            ));
        }
        None => hash.update(keyed.key.as_str()),
    }
    Ok(hex(hash, 16))
}

/// A name as a part of an id: itself, or a hash of it where it could be mistaken for more than one part.
pub(crate) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if (1..=SEGMENT_BYTES).contains(&name.len()) && name.bytes().all(plain) {
        return name.to_owned();
    }
    hex(Sha256::new().chain_update(name), 8)
}

pub(crate) fn hex(hash: Sha256, bytes: usize) -> String {
    hash.finalize().iter().take(bytes).fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn refused(detail: &'static str) -> Problem {
    Problem::of(problem::KEY_INVALID).with_detail(detail).described()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

    fn id(workflow: &str, key: &str, sub_key: Option<&str>, owner: &Principal) -> Result<String, Problem> {
        let key = key.parse()?;
        let keyed = Keyed { key: &key, sub_key, owner };
        KeyMapping::from(Scoped).workflow_id(workflow, keyed).map(String::from)
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_another_has_another() {
        let (ada, bob) = (Principal::new("ada"), Principal::new("bob"));
        let acme = Principal::new("ada").with_tenant("acme");
        let tricky = [Principal::new("ab").with_tenant("c"), Principal::new("b").with_tenant("ca")];
        let mut seen = std::collections::BTreeSet::new();
        for owner in [&ada, &bob, &acme, &tricky[0], &tricky[1]] {
            for workflow in ["checkout", "refund", "shop::checkout", ""] {
                for sub_key in [None, Some("a"), Some("b c"), Some("")] {
                    for key in ["k", "k:a"] {
                        let minted = id(workflow, key, sub_key, owner).unwrap();
                        assert_eq!(minted, id(workflow, key, sub_key, owner).unwrap());
                        assert!(seen.insert(minted.clone()), "{minted} twice");
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_is_readable_and_names_nobody() {
        let minted = id("checkout", "order-1001", None, &Principal::new("ada@example.com")).unwrap();
        let (front, scope) = minted.rsplit_once(':').unwrap();
        assert_eq!(front, "h1:checkout:order-1001");
        assert!(scope.len() == 32 && scope.bytes().all(|byte| byte.is_ascii_hexdigit()), "{scope}");
        let refund =
            id("checkout", "order-1001", Some("refund"), &Principal::new("ada@example.com")).unwrap();
        assert_eq!(refund, format!("h1:checkout:order-1001!refund:{scope}"));
    }

    /// A child is `{parent}-{n}`. Were that an id which a key can lead to, a client could attach to the child, or stand
    /// in its way.
    #[test]
    fn no_key_leads_to_the_child_of_another_workflow() {
        let owner = Principal::new("ada");
        let ends_like_ours = |id: &str| {
            let end = id.rsplit(':').next().unwrap_or_default();
            end.len() == 32 && end.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        for key in ["inv-7", "inv-7-1", "inv-7:1", "7", "1-1", "a:b-2"] {
            let parent = id("pay", key, None, &owner).unwrap();
            assert!(ends_like_ours(&parent), "{parent}");
            for step in [0, 1, 10, i32::MAX] {
                let child = format!("{parent}-{step}");
                assert!(!ends_like_ours(&child), "{child}");
                assert!(!ends_like_ours(&format!("{child}-1")), "{child}-1");
            }
        }
    }

    #[test]
    fn every_id_is_one_that_the_runtime_takes() {
        let owner = Principal::new("u".repeat(1000)).with_tenant("\0");
        for workflow in ["w".repeat(128), "w".repeat(256), "é".repeat(99)] {
            let minted = id(&workflow, &"k".repeat(255), Some(&"s".repeat(300)), &owner).unwrap();
            assert!(minted.len() <= 512, "{}", minted.len());
        }
    }

    #[test]
    fn an_anonymous_key_is_long_and_its_own_scope() {
        let nobody = Principal::anonymous();
        assert!(id("w", &"k".repeat(31), None, &nobody).unwrap_err().is(problem::KEY_INVALID));
        assert!(id("w", &"k".repeat(32), None, &nobody).is_ok());
        let (ours, theirs) = (id("w", LONG, None, &nobody), id("w", LONG, None, &Principal::new("ada")));
        assert_ne!(ours.unwrap(), theirs.unwrap());
    }

    #[test]
    fn verbatim_is_verbatim_but_for_what_others_own() {
        let nobody = Principal::anonymous();
        let cases = [
            ("inv-7", Some("inv-7")),
            ("inv-7-1", Some("inv-7-1")),
            (LONG, Some(LONG)),
            ("sched-nightly-2026", None),
            ("dbos.webhook", None),
            ("_dbos_internal", None),
            ("h1:checkout:k:0", None),
            ("wh:stripe:1", None),
            ("cb:0f", None),
        ];
        for (key, expected) in cases {
            let key: IdempotencyKey = key.parse().unwrap();
            let keyed = Keyed { key: &key, sub_key: None, owner: &nobody };
            let id = KeyMapping::from(Verbatim).workflow_id("any", keyed);
            assert_eq!(id.as_ref().ok().map(WorkflowId::as_str), expected, "{key:?} {id:?}");
            let message = KeyMapping::from(Verbatim).message_key("", keyed);
            assert_eq!(message.as_deref().ok(), expected, "{key:?} {message:?}");
        }
    }

    #[test]
    fn a_verbatim_key_is_another_for_each_topic_and_each_name() {
        let nobody = Principal::anonymous();
        let key: IdempotencyKey = "k".parse().unwrap();
        let cases = [
            (None, "", "k"),
            (None, "a", "k!!a"),
            (Some("a"), "", "k!a"),
            (Some("a"), "b", "k!a!b"),
            (Some("b"), "a", "k!b!a"),
        ];
        for (sub_key, topic, expected) in cases {
            let keyed = Keyed { key: &key, sub_key, owner: &nobody };
            assert_eq!(KeyMapping::from(Verbatim).message_key(topic, keyed).unwrap(), expected);
        }
    }
}
