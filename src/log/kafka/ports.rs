//! Reserves the ports of brokers on this machine while they are down.
//!
//! For an outgoing connection the system picks a port out of a range (32768 to 60999 on Linux) that may
//! include such a broker's port. A client that keeps trying to reach a broker that was killed is
//! eventually given the very port it connects to: it is then connected to itself, for as long as it waits
//! for an answer, and the restarted broker finds its port taken and exits. With a cluster on one machine,
//! clients did so every few minutes while a broker was down.
//!
//! The system does not assign a port that is bound. So each such port is bound here, at another address
//! of this machine (127.0.0.2), without listening and in a way that lets others bind it: the broker can
//! have it at any time, whatever address it listens on, and no connection of any process gets it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use super::locks::lock;

/// Ports that are bound until this is dropped.
#[derive(Default)]
pub(super) struct HeldPorts(Mutex<BTreeMap<u16, held::Socket>>);

impl HeldPorts {
    /// Reserves the ports of those among `HOST:PORT,...` that are on this machine by their name. Ports
    /// that cannot be reserved, perhaps because somebody listens there on all addresses, are skipped.
    pub(super) fn hold(&self, brokers: &str) {
        for broker in brokers.split(',') {
            if let Some((host, port)) = broker.rsplit_once(':')
                && let Ok(port) = port.parse()
                && is_here(host)
            {
                self.hold_port(port);
            }
        }
    }

    fn hold_port(&self, port: u16) {
        let mut ports = lock(&self.0);
        if !ports.contains_key(&port)
            && let Some(socket) = held::socket(port)
        {
            ports.insert(port, socket);
        }
    }
}

fn is_here(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
}

#[cfg(target_os = "linux")]
mod held {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

    pub(super) type Socket = OwnedFd;

    pub(super) fn socket(port: u16) -> Option<Socket> {
        if !is_given_out(port) {
            return None;
        }
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
        sockopt::set_socket_reuseaddr(&socket, true).ok()?;
        let elsewhere = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), port);
        bind(&socket, &elsewhere).ok()?;
        Some(socket)
    }

    /// Whether the system may assign the port to an outgoing connection.
    fn is_given_out(port: u16) -> bool {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let range = range.unwrap_or_default();
        let mut ends = range.split_whitespace().map(str::parse::<u16>);
        match (ends.next(), ends.next()) {
            (Some(Ok(first)), Some(Ok(last))) => (first..=last).contains(&port),
            _ => true,
        }
    }
}

/// Other systems have no such address unless somebody configures it.
#[cfg(not(target_os = "linux"))]
mod held {
    pub(super) type Socket = ();

    pub(super) fn socket(_: u16) -> Option<Socket> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A port on which nobody listens, in the half that is used for connections.
    fn free_port() -> u16 {
        let mut ports = (40_000..60_000).step_by(2);
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        // Different for tests that run in parallel.
        let first = usize::from(std::process::id() as u16) % 5_000;
        let port = ports.by_ref().skip(first).find(is_free);
        port.or_else(|| ports.find(is_free)).unwrap_or_default()
    }

    #[test]
    fn nobody_is_connected_with_himself_on_a_port_that_is_held() {
        let port = free_port();
        let ports = HeldPorts::default();
        ports.hold(&format!("broker:9092,127.0.0.1:{port}"));
        assert!(lock(&ports.0).contains_key(&port));
        // Without the reservation, about one in 14,000 is.
        for attempt in 0..60_000 {
            let connected = TcpStream::connect(("127.0.0.1", port));
            assert!(connected.is_err(), "attempt {attempt}: {connected:?}");
        }
    }

    #[test]
    fn a_broker_takes_its_port_while_it_is_held() {
        let port = free_port() + 1;
        let ports = HeldPorts::default();
        ports.hold(&format!("localhost:{port}"));
        for address in ["127.0.0.1", "0.0.0.0"] {
            let broker = TcpListener::bind((address, port)).expect("the port is its own");
            TcpStream::connect(("127.0.0.1", port)).expect("connected");
            drop(broker);
        }
    }

    #[test]
    fn hosts_of_this_machine_are_known() {
        for host in ["localhost", "127.0.0.1", "[::1]", "127.1.2.3"] {
            assert!(is_here(host), "{host}");
        }
        for host in ["broker-1", "10.0.0.1", "[2001:db8::1]", ""] {
            assert!(!is_here(host), "{host}");
        }
    }
}
