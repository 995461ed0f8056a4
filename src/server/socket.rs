//! Options of sockets that bound what the kernel keeps for a client that does not read.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use rustix::io::Result;
use rustix::net::sockopt::set_socket_send_buffer_size;

/// How many bytes of a response the kernel may hold. Linux doubles this for its own data. Larger responses wait in the
/// memory that all connections share.
const SEND_BUFFER_SIZE: usize = 64 * 1024;
/// How long sent bytes may stay unacknowledged, or a client may accept none, before the kernel drops the connection.
/// The kernel also applies this after the server has closed the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Sets the options of `listener`, which the sockets that it accepts inherit.
pub fn limit_unread_bytes(listener: &TcpListener) -> Result<()> {
    set_socket_send_buffer_size(listener, SEND_BUFFER_SIZE)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let milliseconds = u32::try_from(SEND_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(listener, milliseconds)?;
    }
    Ok(())
}

/// A stream that can be aborted.
pub trait Abort {
    /// Makes the kernel reset the connection and drop unsent bytes when the stream is dropped.
    fn abort_on_drop(&self);
}

impl Abort for TcpStream {
    fn abort_on_drop(&self) {
        // This fails only if the connection is broken already.
        let _ = self.set_zero_linger();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::net::sockopt::{socket_send_buffer_size, tcp_user_timeout};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_sockets_inherit_the_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        limit_unread_bytes(&listener).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(socket_send_buffer_size(&accepted), Ok(2 * SEND_BUFFER_SIZE));
        assert_eq!(tcp_user_timeout(&accepted), Ok(30_000));
    }
}
