//! How long to wait for brokers.

use std::time::Duration;

/// How long a request to the brokers may take before it is given up, in milliseconds.
pub(super) const REQUEST_MS: u64 = 30_000;
/// How long the first contact may take, in milliseconds: a wrong address should be noticed soon.
pub(super) const CONTACT_MS: u64 = 5_000;
/// The same as [`REQUEST_MS`].
pub(super) const REQUEST: Duration = Duration::from_millis(REQUEST_MS);
/// How long one attempt of a frequent request may take: a broker that comes back is noticed by the next
/// one.
pub(super) const ATTEMPT: Duration = Duration::from_millis(1_500);
/// How long it may take until all brokers know a new topic's settings, in milliseconds.
pub(super) const SETTLE_MS: u64 = 3_000;
/// How often brokers are asked whether they know of a change yet.
pub(super) const LOOK: Duration = Duration::from_millis(10);
