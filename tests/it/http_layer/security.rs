//! Attacks, one by one: the numbers are those of the security matrix.
