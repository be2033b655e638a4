//! The two sides of a join of streams, distinguished by type.

/// The side of a join that a process works for.
pub(super) trait Hand<L, R>: 'static {
    /// Type of the values on this side.
    type Own: 'static;
    /// Type of the values on the other side.
    type Other: 'static;
    /// Whether it is the left one.
    const IS_LEFT: bool;

    /// A value of this side and one of the other side, as left and right.
    fn sides<'a>(
        own: Option<&'a Self::Own>,
        other: Option<&'a Self::Other>,
    ) -> (Option<&'a L>, Option<&'a R>);
}

/// The left side.
pub(super) struct LeftHand;
/// The right side.
pub(super) struct RightHand;

impl<L: 'static, R: 'static> Hand<L, R> for LeftHand {
    type Own = L;
    type Other = R;
    const IS_LEFT: bool = true;

    fn sides<'a>(own: Option<&'a L>, other: Option<&'a R>) -> (Option<&'a L>, Option<&'a R>) {
        (own, other)
    }
}

impl<L: 'static, R: 'static> Hand<L, R> for RightHand {
    type Own = R;
    type Other = L;
    const IS_LEFT: bool = false;

    fn sides<'a>(own: Option<&'a R>, other: Option<&'a L>) -> (Option<&'a L>, Option<&'a R>) {
        (other, own)
    }
}
