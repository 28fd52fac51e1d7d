//! Those who see one life of a host: who looks around goes first, who is told of changes waits for the last of them.

use quadrille_kit::Supervisor;
use quadrille_kit::clock::BoxFuture;

/// Those who see one life of a host.
#[derive(Debug)]
pub(crate) struct Audience {
    /// They look around, and change the weather.
    pub lookers: Supervisor,
    /// They are told of changes. Once the lookers have gone they only wait for what comes.
    pub listeners: Supervisor,
}

impl Audience {
    /// All go.
    pub(crate) fn leave(&self) {
        self.lookers.shutdown().start();
        self.listeners.shutdown().start();
    }
}

/// Takes part until the shutdown.
pub(crate) fn seat(of: &Supervisor, work: BoxFuture<'static, ()>) {
    let shutdown = of.shutdown();
    of.spawn_brief("audience", async move {
        tokio::select! {
            biased;
            () = work => {}
            () = shutdown.started() => {}
        }
    });
}
