//! A proxy between clients and a broker, which may be slow, cut connections, or let nothing through.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

/// How often waiting threads check.
const LOOK: Duration = Duration::from_millis(20);
const STACK: usize = 128 << 10;

/// A proxy, which ends when this is dropped.
pub struct Proxy(Arc<State>);

#[derive(Default)]
struct State {
    /// How long data waits in each direction, in milliseconds.
    delay_ms: AtomicU64,
    /// Whether nothing passes, in either direction.
    is_closed: AtomicBool,
    /// Increases when all connections are to be cut.
    cuts: AtomicU64,
    /// The bytes that brokers have sent to clients.
    answered: AtomicU64,
    has_ended: AtomicBool,
}

impl Proxy {
    /// Listens on `port` and forwards to `to`, both on this machine.
    pub fn start(port: u16, to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("not blocking");
        let state = Arc::new(State::default());
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            while !accepting.has_ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => serve(&accepting, client, to),
                    Err(_) => std::thread::sleep(LOOK / 4),
                }
            }
        });
        Self(state)
    }

    /// Delays all data by this much, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.0
            .delay_ms
            .store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Cuts all current connections.
    pub fn cut(&self) {
        self.0.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets nothing through, without telling anybody; or lets everything through again, starting with what has
    /// waited.
    pub fn close(&self, closed: bool) {
        self.0.is_closed.store(closed, Ordering::Relaxed);
    }

    /// The number of bytes that the broker has sent to clients.
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
        self.cut();
    }
}

fn serve(state: &Arc<State>, client: TcpStream, to: u16) {
    client.set_nonblocking(false).expect("blocking");
    // Nobody is listening: the client finds its connection closed.
    let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) else {
        return;
    };
    let cuts = state.cuts.load(Ordering::Relaxed);
    for (from, into, counts) in [(&client, &broker, false), (&broker, &client, true)] {
        let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else {
            return;
        };
        let state = Arc::clone(state);
        let pass = move || {
            pass_on(&state, &from, &into, cuts, counts);
            let _ = from.shutdown(Shutdown::Both);
            let _ = into.shutdown(Shutdown::Both);
        };
        let thread = Builder::new().stack_size(STACK).spawn(pass);
        thread.expect("a thread");
    }
}

/// Forwards until one end is gone, or all connections are cut.
fn pass_on(state: &State, mut from: &TcpStream, mut into: &TcpStream, cuts: u64, counts: bool) {
    let _ = from.set_read_timeout(Some(LOOK * 5));
    let _ = into.set_nodelay(true);
    let is_cut = || state.cuts.load(Ordering::Relaxed) != cuts;
    let mut bytes = [0; 32 << 10];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => return,
        };
        std::thread::sleep(match count {
            0 => Duration::ZERO,
            _ => Duration::from_millis(state.delay_ms.load(Ordering::Relaxed)),
        });
        while state.is_closed.load(Ordering::Relaxed) && !is_cut() {
            std::thread::sleep(LOOK);
        }
        if is_cut() || into.write_all(&bytes[..count]).is_err() {
            return;
        }
        if counts {
            state.answered.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
