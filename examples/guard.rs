//! A service without users of its own: it asks shoko-auth to verify the API key of each request.
//!
//! ```sh
//! cargo run --example guard -- http://127.0.0.1:8111 127.0.0.1:8200
//! curl http://127.0.0.1:8200/ -H "apikey: $KEY"
//! ```
//!
//! Behind a reverse proxy, the proxy can verify the keys instead (nginx `auth_request`, Traefik `ForwardAuth`, Caddy
//! `forward_auth`).

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::rt::System;
use actix_web::web::{Data, block, get};
use actix_web::{App, FromRequest, HttpRequest, HttpServer, ResponseError};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use percent_encoding::percent_decode_str;
use ureq::Agent;

/// How long a request waits for shoko-auth.
const TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: guard URL-OF-SHOKO-AUTH ADDRESS"));
    };
    let verifier = Data::new(Verifier::new(&url));
    System::new().block_on(async move {
        let server = HttpServer::new(move || App::new().app_data(verifier.clone()).route("/", get().to(hello)));
        let server = server.bind(address)?;
        for address in server.addrs() {
            println!("listening on http://{address}/");
        }
        server.run().await
    })
}

/// A route that only users can call, because its signature requires a [`User`].
async fn hello(user: User) -> String {
    format!("Hello, {}!\n", user.name)
}

/// The user whose key the request presents.
struct User {
    name: String,
}

/// Why a request is rejected.
#[derive(Debug, thiserror::Error)]
enum Rejection {
    #[error("a valid API key is required")]
    InvalidKey,
    /// The key could not be verified. The cause is for the log, not for the client.
    #[error("try again later")]
    Unavailable(String),
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl FromRequest for User {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let verifier = request.app_data::<Data<Verifier>>().cloned();
        let header = |name| request.headers().get(name)?.to_str().ok().map(str::to_owned);
        let presented = Presented {
            key: header("apikey"),
            authorization: header(AUTHORIZATION.as_str()),
        };
        async move {
            let verifier = verifier.ok_or_else(|| Rejection::Unavailable("no verifier is configured".to_owned()))?;
            let user = block(move || verifier.verify(&presented)).await;
            let user = user.unwrap_or_else(|error| Err(Rejection::Unavailable(error.to_string())));
            user.inspect_err(|error| eprintln!("rejected a request: {error:?}"))
        }
        .boxed_local()
    }
}

/// The headers in which a client presents its key.
struct Presented {
    key: Option<String>,
    authorization: Option<String>,
}

struct Verifier {
    agent: Agent,
    url: String,
}

impl Verifier {
    fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            url: format!("{}/api/auth/verify", url.trim_end_matches('/')),
        }
    }

    /// Asks shoko-auth for the owner of the presented key. If shoko-auth does not respond, the request is rejected.
    fn verify(&self, presented: &Presented) -> Result<User, Rejection> {
        let mut request = self.agent.get(&self.url);
        if let Some(key) = &presented.key {
            request = request.header("apikey", key);
        }
        if let Some(authorization) = &presented.authorization {
            request = request.header(AUTHORIZATION.as_str(), authorization);
        }
        let response = request
            .call()
            .map_err(|error| Rejection::Unavailable(error.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            401 => return Err(Rejection::InvalidKey),
            status => return Err(Rejection::Unavailable(format!("shoko-auth responded with {status}"))),
        }
        let name = response.headers().get("Remote-User");
        let name = name.and_then(|name| name.to_str().ok());
        let name = name.ok_or_else(|| Rejection::Unavailable("the response names no user".to_owned()))?;
        Ok(User {
            // Names are percent-encoded, because headers are ASCII.
            name: percent_decode_str(name).decode_utf8_lossy().into_owned(),
        })
    }
}
