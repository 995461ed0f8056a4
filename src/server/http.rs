//! HTTP for the connections of one worker.
//!
//! As long as an HTTP service of actix exists, it updates its clock twice a second. The service is therefore created
//! for the first connection and dropped with the last, so that a server without connections does not wake up.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{Protocol, Request, Response};
use actix_server::GracefulShutdownSignal;
use actix_service::boxed::{self, BoxService};
use actix_service::{Service, ServiceFactory, always_ready, fn_factory};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceResponse};
use actix_web::rt::net::TcpStream;

use super::MAX_DISCONNECT_TIME;
use super::deadline::Deadline;
use super::wire::Wire;
use crate::web::address::ClientDisconnected;

/// The time in which the head of a connection's first request must arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay open between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

pub type Connection = (Wire<Deadline<TcpStream>>, Protocol, Option<SocketAddr>);

type HttpService = BoxService<Connection, (), DispatchError>;

/// A service that serves each connection with an HTTP service, which exists only while there are connections.
pub struct WhileConnected<C> {
    create: C,
    current: Rc<RefCell<Weak<HttpService>>>,
}

impl<C> WhileConnected<C> {
    /// `create` returns the factory of the HTTP service.
    pub fn new(create: C) -> Self {
        Self {
            create,
            current: Rc::default(),
        }
    }
}

impl<C, F> Service<Connection> for WhileConnected<C>
where
    C: Fn() -> F,
    F: ServiceFactory<Connection, Config = (), Response = (), Error = DispatchError>,
    F::Future: 'static,
    F::Service: 'static,
    <F::Service as Service<Connection>>::Future: 'static,
{
    type Response = ();
    type Error = DispatchError;
    type Future = Pin<Box<dyn Future<Output = Result<(), DispatchError>>>>;

    always_ready!();

    fn call(&self, connection: Connection) -> Self::Future {
        let wire = connection.0.clone();
        if let Some(http) = self.current.borrow().upgrade() {
            return Box::pin(async move {
                let result = http.call(connection).await;
                wire.finish().await;
                result
            });
        }
        let created = (self.create)().new_service(());
        let current = self.current.clone();
        Box::pin(async move {
            let created = created.await.map_err(|_| DispatchError::InternalError)?;
            let http = Rc::new(boxed::service(created));
            *current.borrow_mut() = Rc::downgrade(&http);
            // The connection keeps the service alive.
            let result = http.call(connection).await;
            wire.finish().await;
            result
        })
    }
}

/// Returns the HTTP service for connections, which passes requests to `app`. It closes idle connections once `shutdown`
/// resolves. `address` is that of the listener.
pub fn http_service<A, B>(
    app: Rc<A>,
    shutdown: GracefulShutdownSignal,
    address: SocketAddr,
) -> impl ServiceFactory<
    Connection,
    Config = (),
    Response = (),
    Error = DispatchError,
    Future: 'static,
    Service: Service<Connection, Future: 'static> + 'static,
>
where
    A: Service<Request, Response = ServiceResponse<B>> + 'static,
    A::Error: Into<Response<BoxBody>> + 'static,
    A::Future: 'static,
    B: MessageBody + 'static,
{
    actix_http::HttpService::build()
        .graceful_shutdown_signal(move || {
            let shutdown = shutdown.clone();
            async move { shutdown.notified().await }
        })
        .on_connect_ext(|stream: &Wire<Deadline<TcpStream>>, data: &mut Extensions| {
            let stream = stream.get_ref();
            data.insert(ClientDisconnected(stream.client_disconnected()));
            data.insert(stream.progress());
        })
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(MAX_DISCONNECT_TIME)
        .keep_alive(KEEP_ALIVE)
        .local_addr(address)
        .finish(fn_factory(move || ready(Ok::<_, ()>(app.clone()))))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Instant;

    use actix_service::fn_service;
    use actix_web::rt::System;
    use actix_web::rt::task::yield_now;
    use tokio::sync::Notify;

    use super::*;
    use crate::server::connections::Connections;
    use crate::server::head_budget::HeadBudget;
    use crate::web::address::TrustedProxies;

    #[test]
    fn the_http_service_exists_while_there_are_connections() {
        System::new().block_on(async {
            let (created, end) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
            let service = {
                let (created, end) = (created.clone(), end.clone());
                WhileConnected::new(move || {
                    created.set(created.get() + 1);
                    let end = end.clone();
                    fn_factory(move || {
                        let end = end.clone();
                        let serve = fn_service(move |_: Connection| {
                            let end = end.clone();
                            async move {
                                end.notified().await;
                                Ok::<_, DispatchError>(())
                            }
                        });
                        async move { Ok::<_, ()>(serve) }
                    })
                })
            };
            for _ in 0..2 {
                let first = actix_web::rt::spawn(service.call(connection()));
                yield_now().await;
                let second = actix_web::rt::spawn(service.call(connection()));
                yield_now().await;
                end.notify_waiters();
                first.await.unwrap().unwrap();
                second.await.unwrap().unwrap();
            }
            assert_eq!(created.get(), 2, "one service for each pair of connections");
        });
    }

    fn connection() -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let connections = Connections::new(9, Arc::new(TrustedProxies::new(Vec::new())));
        let slot = connections.open(address.ip(), Instant::now()).unwrap();
        let stream = Deadline::new(
            TcpStream::from_std(stream).unwrap(),
            slot,
            Arc::<HeadBudget>::default().share(),
            Duration::from_secs(60),
        );
        (Wire::new(stream), Protocol::Http1, Some(address))
    }
}
