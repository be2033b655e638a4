//! `kill -9` in the middle of posting: what was acknowledged counts once, and so does what was sent again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::http::try_ask;
use crate::process::{Place, WINDOW_MS, everywhere, reading, until};

const CLIENTS: usize = 4;
const KILLS: usize = 6;
/// Readings per batch.
const BATCH: usize = 20;

/// Clients ask for this host. While their service is down, that of another test may get its port: it must not take
/// their readings.
const HOST: &str = "crash.example";

/// The current address of the service, for clients that outlive it.
struct Posting {
    address: Mutex<SocketAddr>,
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    again: AtomicUsize,
    replayed: AtomicUsize,
}

impl Posting {
    fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One batch after another, each sent until it is acknowledged, with the same key.
    fn post(&self, client: usize) {
        let body: String = (0..BATCH)
            .map(|number| {
                reading(
                    ["Arctic", "Pacific"][number % 2],
                    (client * BATCH + number) as i64,
                )
            })
            .collect();
        let mut batch = 0;
        while !self.stop.load(Ordering::Acquire) {
            batch += 1;
            let key = format!("client-{client}-batch-{batch}");
            loop {
                let headers = [("Idempotency-Key", &*key), ("Host", HOST)];
                let answer = try_ask(
                    self.address(),
                    "POST",
                    "/readings",
                    &headers,
                    body.as_bytes(),
                );
                match answer {
                    Ok(answer) if answer.status == 200 => {
                        let replayed = answer.header("idempotent-replayed").is_some();
                        self.replayed
                            .fetch_add(usize::from(replayed), Ordering::Relaxed);
                        break;
                    }
                    // Busy, or another test's service.
                    Ok(answer) => assert!([503, 421].contains(&answer.status), "{answer:?}"),
                    Err(_) => {}
                }
                self.again.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
            self.acknowledged.fetch_add(BATCH, Ordering::Relaxed);
        }
    }
}

#[test]
fn every_acknowledged_reading_counts_once_whatever_is_killed() {
    let place = Place::new();
    let flags = ["--rate", "0", "--hosts", HOST];
    let mut service = place.start(&flags);
    let posting = Posting {
        address: Mutex::new(service.address),
        stop: AtomicBool::new(false),
        acknowledged: AtomicUsize::new(0),
        again: AtomicUsize::new(0),
        replayed: AtomicUsize::new(0),
    };
    let service = std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let posting = &posting;
            scope.spawn(move || posting.post(client));
        }
        for kill in 0..KILLS {
            // At another point of a commit each time.
            let before = posting.acknowledged.load(Ordering::Relaxed);
            until("some are acknowledged", || {
                posting.acknowledged.load(Ordering::Relaxed) > before + 2 * BATCH
            });
            std::thread::sleep(Duration::from_micros(700 * kill as u64));
            service.kill();
            service = place.start(&flags);
            *posting
                .address
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = service.address;
        }
        posting.stop.store(true, Ordering::Release);
        service
    });
    let acknowledged = posting.acknowledged.load(Ordering::Relaxed);
    assert!(
        posting.again.load(Ordering::Relaxed) > 0,
        "nothing was sent again"
    );
    // All of it is in the first window, which closes now.
    let later = everywhere(5 * WINDOW_MS);
    crate::http::post(service.address, &[], later.as_bytes());
    until("the window is there", || service.counted(WINDOW_MS) > 0);
    let replayed = posting.replayed.load(Ordering::Relaxed);
    eprintln!(
        "{acknowledged} acknowledged, {replayed} batches were there when they were sent again"
    );
    assert_eq!(service.counted(WINDOW_MS), acknowledged as i64);
}

#[test]
fn a_signal_stops_it_in_good_order_while_it_is_posted_to() {
    let place = Place::new();
    let flags = ["--rate", "0", "--hosts", HOST];
    let service = place.start(&flags);
    let posting = Posting {
        address: Mutex::new(service.address),
        stop: AtomicBool::new(false),
        acknowledged: AtomicUsize::new(0),
        again: AtomicUsize::new(0),
        replayed: AtomicUsize::new(0),
    };
    let service = std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let posting = &posting;
            scope.spawn(move || posting.post(client));
        }
        until("some are acknowledged", || {
            posting.acknowledged.load(Ordering::Relaxed) > 10 * BATCH
        });
        service.signal("TERM");
        let ended = service.ended();
        assert!(ended.success(), "{ended}");
        let service = place.start(&flags);
        *posting
            .address
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = service.address;
        posting.stop.store(true, Ordering::Release);
        service
    });
    crate::http::post(service.address, &[], everywhere(5 * WINDOW_MS).as_bytes());
    until("the window is there", || service.counted(WINDOW_MS) > 0);
    let acknowledged = posting.acknowledged.load(Ordering::Relaxed);
    assert_eq!(service.counted(WINDOW_MS), acknowledged as i64);
}
