//! All routes of the server.

use std::io;
use std::path::PathBuf;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::guard::fn_guard;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, Error, HttpResponse};

use crate::account::pages::{self, Site};
use crate::account::{self, AccountUrls};
use crate::auth::Auth;
use crate::dialects::{shoko, zettelstore, zulip};
use crate::gateway;
use crate::openapi::{self, Swagger};
use crate::settings::{BasePath, CorsOrigins, Dialects, GatewayDomains, PublicUrl, Settings};
use crate::web::address::TrustedProxies;
use crate::web::cors::cors;
use crate::web::health;
use crate::web::large_bodies::LargeBodies;
use crate::web::large_responses::LargeResponses;
use crate::web::middleware::request_middleware;
use crate::web::origin::OriginPolicy;
use crate::web::problem::Problem;
use crate::web::process::Process;

/// The parts from which each worker assembles its own routes.
#[derive(Clone)]
pub struct Routes {
    auth: Data<Auth>,
    process: Data<Process>,
    proxies: Data<TrustedProxies>,
    origins: Data<OriginPolicy>,
    large_bodies: LargeBodies,
    large_responses: LargeResponses,
    swagger: Data<Swagger>,
    swagger_ui: bool,
    cors_origins: CorsOrigins,
    dialects: Dialects,
    public_url: Option<PublicUrl>,
    account: Data<AccountUrls>,
    site: Data<Site>,
    base_path: Data<BasePath>,
    gateway_domains: Data<GatewayDomains>,
    web_ui: Option<PathBuf>,
    v1_login: bool,
    prefix: String,
}

impl Routes {
    /// Returns the routes that these settings enable. Fails if Swagger UI cannot be prepared.
    pub fn new(
        settings: &Settings,
        auth: Data<Auth>,
        process: Data<Process>,
        proxies: Data<TrustedProxies>,
    ) -> io::Result<Self> {
        let swagger = Swagger::new(&settings.base_path, &settings.dialects, settings.swagger_ui)?;
        Ok(Self {
            prefix: process.prefix().to_owned(),
            auth,
            process,
            proxies,
            origins: Data::new(OriginPolicy::new(settings)),
            large_bodies: LargeBodies::default(),
            large_responses: LargeResponses::default(),
            swagger: Data::new(swagger),
            swagger_ui: settings.swagger_ui,
            dialects: settings.dialects.clone(),
            public_url: settings.public_url.clone(),
            account: Data::new(AccountUrls::new(settings.public_url.as_ref(), &settings.base_path)),
            site: Data::new(Site::new(settings)),
            base_path: Data::new(settings.base_path.clone()),
            gateway_domains: Data::new(settings.gateway_domains.clone()),
            cors_origins: settings.cors_origins.clone(),
            web_ui: settings.web_ui.clone(),
            v1_login: settings.v1_login,
        })
    }

    /// Returns the routes of one worker.
    pub fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        let guard_path = format!("{}{}/", self.prefix, gateway::GUARD_PATH);
        App::new()
            .app_data(self.auth.clone())
            .app_data(self.process.clone())
            .app_data(self.proxies.clone())
            .app_data(self.origins.clone())
            .app_data(self.account.clone())
            .app_data(self.site.clone())
            .app_data(self.base_path.clone())
            .app_data(self.gateway_domains.clone())
            .app_data(self.large_bodies.clone())
            .app_data(self.large_responses.clone())
            .app_data(self.swagger.clone())
            .wrap(from_fn(request_middleware))
            .service(
                web::scope(&self.prefix)
                    // Not a scope that is tried first: that would cost every request more.
                    .guard(fn_guard(move |request| {
                        !request.head().uri.path().starts_with(&*guard_path)
                    }))
                    .wrap(cors(&self.cors_origins))
                    // Registered first, because routes are tried in order and this one serves the most requests.
                    .configure(gateway::routes)
                    // Registered before the pages, because the web UI, if there is one, redirects `/`.
                    .configure(|config| self.dialect_routes(config))
                    .configure(account::routes)
                    .configure(pages::routes)
                    .configure(health::routes)
                    .configure(|config| openapi::routes(config, self.swagger_ui)),
            )
            .service(web::scope(&format!("{}{}", self.prefix, gateway::GUARD_PATH)).configure(gateway::guard_routes))
            .default_service(web::to(no_such_route))
    }

    /// Registers the routes of the enabled dialects, of Shoko's web UI and of its v1 API.
    fn dialect_routes(&self, config: &mut ServiceConfig) {
        if self.dialects.shoko {
            shoko::routes(config);
        }
        if let Some(settings) = self.dialects.zulip {
            zulip::routes(config, settings, self.public_url.clone(), &self.prefix);
        }
        if let Some(settings) = self.dialects.zettelstore {
            zettelstore::routes(config, settings);
        }
        if let Some(folder) = &self.web_ui {
            shoko::web_ui::routes(config, folder);
        }
        if self.v1_login {
            shoko::v1::routes(config);
        }
    }
}

async fn no_such_route() -> Result<HttpResponse, Problem> {
    Err(Problem::with_detail(StatusCode::NOT_FOUND, "There is no such route."))
}
