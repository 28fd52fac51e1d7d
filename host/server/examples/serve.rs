//! The API server alone, without Wasm:
//! `cargo run -p quadrille-server --example serve -- DIR [ADDR:PORT [TOKENS.csv]]`.
//!
//! Writes `DIR/kubeconfig`, `DIR/admin-token` and `DIR/ca.crt`; the store is in `DIR/store`. With `-` as DIR the
//! store is in memory and the files go to `./quadrille-data`.

use std::path::PathBuf;
use std::sync::Arc;

use quadrille_kit::{Clock, Random, Supervisor, SystemClock, SystemRandom};
use quadrille_registry::Registry;
use quadrille_server::{Config, Parts, Server, Tokens, User, identity};
use quadrille_store::Store;

type Problem = Box<dyn std::error::Error>;

#[expect(clippy::print_stdout, reason = "an example tells where it listens")]
#[tokio::main]
async fn main() -> Result<(), Problem> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "-".to_owned());
    let in_memory = dir == "-";
    let dir = PathBuf::from(if in_memory { "quadrille-data" } else { &dir });
    std::fs::create_dir_all(&dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom::default());
    let supervisor = Supervisor::default();
    let dir_of_store = (!in_memory).then(|| dir.join("store"));
    let store = quadrille_store::Config { dir: dir_of_store, ..quadrille_store::Config::default() };
    let store = Store::open(store, Arc::clone(&clock), &supervisor).await?;
    let config = quadrille_registry::Config::default();
    let registry = Registry::build(config, store, Arc::clone(&clock), Arc::clone(&random))?;
    registry.bootstrap().await?;
    supervisor.spawn("roles", registry.clone().keep_access(supervisor.shutdown()));
    supervisor.spawn("quotas", registry.clone().keep_quotas(supervisor.shutdown()));
    let authority = identity::make_authority(clock.now())?;
    let names = identity::loopback_names();
    let certificate = identity::make_server_certificate(&authority, &names, clock.now())?;
    let token = identity::make_token(random.as_ref());
    let mut tokens = Tokens::default();
    tokens.insert(&token, User::known("admin", "", &["system:masters"]));
    let mut config = Config::default();
    if let Some(listen) = args.next() {
        config.listen = listen.parse()?;
    }
    if let Some(file) = args.next() {
        tokens.insert_file(&std::fs::read_to_string(file)?)?;
    }
    let server =
        Server::build(config, Parts::new(registry, certificate, tokens), &supervisor).await?;
    let url = format!("https://{}", server.address());
    std::fs::write(dir.join("admin-token"), &token)?;
    std::fs::write(dir.join("ca.crt"), &authority.certificate)?;
    let kubeconfig = identity::kubeconfig(&url, &authority.certificate, &token);
    std::fs::write(dir.join("kubeconfig"), kubeconfig)?;
    println!("ready url={url} kubeconfig={0}/kubeconfig token-file={0}/admin-token", dir.display());
    server.run().await?;
    Ok(())
}
