//! How many readings an address may post: one token bucket per address, which fills at the rate and holds two
//! seconds of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Number of addresses remembered. Those that have posted nothing for two seconds can be dropped.
const ADDRESSES: usize = 4_096;
/// The capacity of a bucket, in seconds of the rate.
const BURST_SECONDS: f64 = 2.0;

/// The buckets of all addresses.
pub struct Rate {
    /// Readings per second; 0 for no limit.
    per_second: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Readings that may be posted now; negative after a body that was larger than what was left.
    left: f64,
    at_ms: u64,
}

impl Rate {
    /// This many readings per second for each address; 0 for no limit.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second,
            buckets: Mutex::default(),
        }
    }

    /// Takes this many readings out of an address's bucket. A body may be larger than a bucket: it is
    /// accepted when the bucket is full, and paid for afterwards.
    ///
    /// # Errors
    /// The number of seconds after which it may be retried.
    pub fn take(&self, address: IpAddr, readings: usize, now_ms: u64) -> Result<(), u64> {
        if self.per_second == 0 {
            return Ok(());
        }
        let per_second = f64::from(self.per_second);
        let full = per_second * BURST_SECONDS;
        let filled = |bucket: &Bucket| {
            let seconds = now_ms.saturating_sub(bucket.at_ms) as f64 / 1e3;
            (bucket.left + seconds * per_second).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(&address) && buckets.len() >= ADDRESSES {
            buckets.retain(|_, bucket| filled(bucket) < full);
        }
        // This many addresses are remembered, and all are active: any further one waits.
        if !buckets.contains_key(&address) && buckets.len() >= ADDRESSES {
            return Err(1);
        }
        let bucket = buckets.entry(address).or_insert(Bucket {
            left: full,
            at_ms: now_ms,
        });
        let left = filled(bucket);
        let wanted = (readings as f64).min(full);
        if left < wanted {
            return Err(((wanted - left) / per_second).ceil().max(1.0) as u64);
        }
        *bucket = Bucket {
            left: left - readings as f64,
            at_ms: now_ms,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_has_its_rate_and_no_other_pays_for_it() {
        let rate = Rate::new(100);
        assert_eq!(rate.take(address(1), 150, 0), Ok(()));
        assert_eq!(rate.take(address(1), 51, 0), Err(1));
        assert_eq!(rate.take(address(2), 150, 0), Ok(()));
        assert_eq!(rate.take(address(1), 51, 10), Ok(()));
    }

    #[test]
    fn a_body_larger_than_the_bucket_is_paid_for_afterwards() {
        let rate = Rate::new(100);
        assert_eq!(rate.take(address(1), 1_000, 0), Ok(()));
        assert_eq!(rate.take(address(1), 1, 7_999), Err(1));
        assert_eq!(rate.take(address(1), 1, 8_010), Ok(()));
        assert_eq!(rate.take(address(1), 1_000, 8_010), Err(2));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_quiet() {
        let rate = Rate::new(1);
        for number in 0..ADDRESSES as u32 {
            assert_eq!(rate.take(IpAddr::from(number.to_be_bytes()), 1, 0), Ok(()));
        }
        let another = IpAddr::from([250, 0, 0, 1]);
        assert_eq!(rate.take(another, 1, 0), Err(1));
        assert_eq!(rate.take(another, 1, 2_000), Ok(()));
        assert_eq!(rate.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn there_may_be_no_limit() {
        let rate = Rate::new(0);
        assert_eq!(rate.take(address(1), usize::MAX, 0), Ok(()));
    }
}
