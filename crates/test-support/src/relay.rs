//! A TCP relay in front of PostgreSQL. It can stop forwarding its connections without closing them, as a proxy does that
//! hangs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A relay. It forwards connections until the process exits.
pub struct Relay {
    pub address: SocketAddr,
    /// For each connection, whether it is silent.
    connections: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Relay {
    /// Starts a relay to `target`, which is a socket's path or `host:port`.
    pub fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the listener has an address");
        let connections = Arc::<Mutex<Vec<Arc<AtomicBool>>>>::default();
        let accepted = connections.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let is_silent = Arc::<AtomicBool>::default();
                accepted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(is_silent.clone());
                if target.starts_with('/') {
                    let server = UnixStream::connect(&target).expect("PostgreSQL runs");
                    let clone = server.try_clone().expect("a socket can be cloned");
                    forward(&client, server, clone, is_silent);
                } else {
                    let server = TcpStream::connect(&target).expect("PostgreSQL runs");
                    let clone = server.try_clone().expect("a socket can be cloned");
                    forward(&client, server, clone, is_silent);
                }
            }
        });
        Self { address, connections }
    }

    /// Makes all connections silent: they stay open, but nothing arrives any more. Later connections work. Returns the
    /// number of silent connections.
    pub fn silence(&self) -> usize {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections
            .iter()
            .for_each(|is_silent| is_silent.store(true, Ordering::SeqCst));
        connections.len()
    }
}

fn forward(
    client: &TcpStream,
    server: impl Read + Send + 'static,
    server_clone: impl Write + Send + 'static,
    is_silent: Arc<AtomicBool>,
) {
    let (from, to) = (client.try_clone(), client.try_clone());
    let (from, to) = (
        from.expect("a socket can be cloned"),
        to.expect("a socket can be cloned"),
    );
    let also_silent = is_silent.clone();
    thread::spawn(move || copy(from, server_clone, &is_silent));
    thread::spawn(move || copy(server, to, &also_silent));
}

/// Copies until one side closes its connection. Drops what arrives while the connection is silent.
fn copy(mut from: impl Read, mut to: impl Write, is_silent: &AtomicBool) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !is_silent.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
