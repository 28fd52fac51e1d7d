//! The server's three faces: `Config`, [`Server::build`], [`Server::run`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::{Clock, Random, Supervisor};
use quadrille_registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::accounts::{self, AccountTokens};
use crate::app::{App, AuditIds};
use crate::audit::{AuditConfig, AuditError, AuditLog};
use crate::authentication::{Authenticator, Tokens};
use crate::authorization::{Authorizer, Roles};
use crate::config::{Config, Limits};
use crate::connection;
use crate::extension::{Insight, PluginUploads};
use crate::fairness::Fair;
use crate::identity::{IdentityError, PemPair, tls_config};
use crate::oidc::Oidc;
use crate::past::Past;
use crate::routes::RouteCache;
use crate::strangers::Strangers;
use crate::webhook::WebhookCaller;

/// How long to wait before the next attempt when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server cannot be built or has ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The audit log cannot be written.
    #[error("cannot keep the audit log")]
    Audit(#[source] AuditError),
    /// The certificate cannot be used.
    #[error("cannot set up TLS")]
    Tls(#[source] IdentityError),
}

/// The parts that a server is built from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The registry, and the store below it.
    pub registry: Registry,
    /// The certificate to serve with.
    pub certificate: PemPair,
    /// The tokens that are known.
    pub tokens: Tokens,
    /// Who issues and verifies the tokens of service accounts; `None` for a host that has none.
    pub accounts: Option<Arc<AccountTokens>>,
    /// Whose foreign tokens are believed.
    pub oidc: Option<Arc<Oidc>>,
    /// The authorities of client certificates, as PEM; `None` where clients show none.
    pub client_authorities: Option<String>,
    /// How the audit log is kept; `None` for a host without one.
    pub audit: Option<AuditConfig>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// The code and logs of plugins; `None` for a host without them.
    pub uploads: Option<Arc<dyn PluginUploads>>,
    /// What the record can tell; `None` for a host that does not say.
    pub insight: Option<Arc<dyn Insight>>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub random: Arc<dyn Random>,
}

impl Parts {
    /// The parts of a server without plugins and insight, with the host's own roles and
    /// bindings and a key for service accounts' tokens that is forgotten with it.
    pub fn new(registry: Registry, certificate: PemPair, tokens: Tokens) -> Self {
        let (clock, random) = (Arc::clone(registry.clock()), Arc::clone(registry.random()));
        let authorizer = Arc::new(Roles(registry.clone()));
        let (uploads, insight, oidc, client_authorities) = (None, None, None, None);
        let key = AccountTokens::make_key();
        let accounts = key.and_then(|key| AccountTokens::new(&key, accounts::ISSUER, &[])).ok();
        let accounts = accounts.map(Arc::new);
        Self {
            registry,
            certificate,
            tokens,
            accounts,
            oidc,
            client_authorities,
            audit: None,
            authorizer,
            uploads,
            insight,
            clock,
            random,
        }
    }
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    supervisor: Supervisor,
}

impl Server {
    /// Binds the address, checks the certificate and opens the audit log; spawns nothing but the log's thread.
    ///
    /// # Errors
    /// When the address is taken, the certificate cannot be used, or the audit log cannot be written.
    pub async fn build(
        config: Config,
        parts: Parts,
        supervisor: &Supervisor,
    ) -> Result<Self, ServerError> {
        parts.registry.set_webhooks(Arc::new(WebhookCaller::new(Arc::clone(&parts.clock))));
        parts.registry.set_supervisor(supervisor.clone());
        let tls = tls_config(&parts.certificate, parts.client_authorities.as_deref())
            .map_err(ServerError::Tls)?;
        let listen = |source| ServerError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let log = parts
            .audit
            .map(|audit| AuditLog::open(audit, Arc::clone(&parts.clock), supervisor).map(Arc::new));
        let log = log.transpose().map_err(ServerError::Audit)?;
        let fair = |limits: Limits| Arc::new(Fair::new(limits, Arc::clone(&parts.clock)));
        let app = Arc::new(App {
            audit_log: log,
            key_places: Semaphore::new(config.limits.queue_per_user_max),
            fair: fair(config.limits.clone()),
            waiting: fair(config.limits.of_waiting()),
            audit: AuditIds::new(parts.random.as_ref()),
            documents: crate::openapi::Documents::default(),
            metrics: crate::metrics::Metrics::default(),
            config,
            authenticator: Authenticator {
                tokens: parts.tokens,
                accounts: parts.accounts,
                oidc: parts.oidc,
                registry: parts.registry.clone(),
                clock: Arc::clone(&parts.clock),
            },
            registry: parts.registry,
            clock: parts.clock,
            random: parts.random,
            authorizer: parts.authorizer,
            uploads: parts.uploads,
            insight: parts.insight,
            shutdown: supervisor.shutdown(),
            past: Past::default(),
            relays: crate::verbs::watch::Relays::default(),
            routes: RouteCache::default(),
        });
        Ok(Self { app, listener, address, tls, supervisor: supervisor.clone() })
    }

    /// The address that it listens on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the supervisor's shutdown, then waits until the connections have drained.
    ///
    /// # Errors
    /// Never at present: what goes wrong with one connection ends that connection.
    pub async fn run(self) -> Result<(), ServerError> {
        let Self { app, listener, tls, supervisor, .. } = self;
        let connections_max = app.config.limits.connections_max;
        let door =
            Door { free: Arc::new(Semaphore::new(connections_max)), strangers: Arc::default() };
        let tls = TlsAcceptor::from(tls);
        loop {
            let accepted = tokio::select! {
                biased;
                () = app.shutdown.started() => break,
                accepted = door.accept(&listener) => accepted,
            };
            let Some((socket, peer, permit)) = accepted else {
                app.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let stranger = Arc::new(door.strangers.arrive());
            let serving = connection::serve(Arc::clone(&app), tls.clone(), socket, peer, stranger);
            supervisor.spawn_brief("connection", async move {
                serving.await;
                drop(permit);
            });
        }
        drop(listener);
        let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let drained = door.free.acquire_many(all);
        tokio::select! {
            _ = drained => {}
            () = app.clock.sleep(app.config.limits.drain_timeout * 2) => {}
        }
        Ok(())
    }
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// Where connections come in: how many more there may be, and who makes room.
struct Door {
    free: Arc<Semaphore>,
    strangers: Arc<Strangers>,
}

impl Door {
    /// The next connection, once there is room for it; `None` when the system cannot give one.
    async fn accept(&self, listener: &TcpListener) -> Option<Accepted> {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                return None;
            }
        };
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some((socket, peer, permit));
        }
        if self.strangers.send_away_oldest() {
            tracing::debug!("too many connections: a stranger makes room");
        }
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some((socket, peer, permit))
    }
}
