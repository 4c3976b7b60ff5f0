//! What nobody may guess.

/// 256 random bits as 64 characters.
pub(crate) fn random_hex() -> String {
    let [high, low] = rand::random::<[u128; 2]>();
    format!("{high:032x}{low:032x}")
}
