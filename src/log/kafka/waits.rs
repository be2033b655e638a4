//! How long brokers are waited for.

use std::time::Duration;

/// How long a question to the brokers may take before it is given up, in milliseconds.
pub(super) const REQUEST_MS: u64 = 30_000;
/// How long the first contact may take, in milliseconds: an address that is wrong should be noticed
/// soon.
pub(super) const CONTACT_MS: u64 = 5_000;
/// The same as [`REQUEST_MS`].
pub(super) const REQUEST: Duration = Duration::from_millis(REQUEST_MS);
/// How long one attempt at a question that is asked all the time may take: a broker that comes back is
/// noticed by the next one.
pub(super) const ATTEMPT: Duration = Duration::from_millis(1_500);
/// How long a new topic's settings may take to be known to all brokers, in milliseconds.
pub(super) const SETTLE_MS: u64 = 3_000;
/// How often brokers are asked whether they know of a change yet.
pub(super) const LOOK: Duration = Duration::from_millis(10);
