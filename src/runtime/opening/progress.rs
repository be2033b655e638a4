//! How long a restore still takes.

/// How long the rest takes if `done` took `taken_ms`.
pub(super) fn left_ms(taken_ms: u64, done: u64, total: u64) -> Option<u64> {
    let left = u128::from(total.saturating_sub(done));
    let left_ms = (u128::from(taken_ms) * left).checked_div(u128::from(done))?;
    u64::try_from(left_ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_goes_at_the_pace_of_what_is_done() {
        assert_eq!(left_ms(2_000, 250, 1_000), Some(6_000));
        assert_eq!(left_ms(2_000, 1_000, 1_000), Some(0));
        assert_eq!(left_ms(2_000, 0, 1_000), None);
    }
}
