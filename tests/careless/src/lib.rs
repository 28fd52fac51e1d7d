//! Three controllers, one careful and two careless: what `quadrille check` has to tell apart.

use quadrille_sdk::prelude::*;

/// What is to be kept, and how carelessly.
#[resource(group = "careless.quadrille.dev", version = "v1")]
pub struct ChoreSpec {
    /// The text to keep.
    #[field(max_length = 100)]
    pub text: String,
}

fn child(chore: &Chore, text: &str) -> ConfigMap {
    ConfigMap::new(chore.name()).with("text", text)
}

/// Keeps the text.
#[derive(Debug)]
pub struct Careful;

impl Controller for Careful {
    type Primary = Chore;
    const NAME: &'static str = "careful";
    const LABEL_SELECTOR: &'static str = "how=carefully";
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];

    fn reconcile(chore: &Chore, ctx: &Context) -> Result<Next> {
        ctx.ensure(child(chore, &chore.spec.text))?;
        Next::done()
    }
}

/// Keeps the time of its last run beside the text, so that each run writes.
#[derive(Debug)]
pub struct Stamper;

impl Controller for Stamper {
    type Primary = Chore;
    const NAME: &'static str = "stamper";
    const LABEL_SELECTOR: &'static str = "how=stamping";
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];

    fn reconcile(chore: &Chore, ctx: &Context) -> Result<Next> {
        let now = ctx.now().to_string();
        ctx.ensure(child(chore, &chore.spec.text).with("ran", &now))?;
        Next::done()
    }
}

/// Does not look whether the text was kept.
#[derive(Debug)]
pub struct Swallower;

impl Controller for Swallower {
    type Primary = Chore;
    const NAME: &'static str = "swallower";
    const LABEL_SELECTOR: &'static str = "how=swallowing";
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];

    fn reconcile(chore: &Chore, ctx: &Context) -> Result<Next> {
        drop(ctx.ensure(child(chore, &chore.spec.text)));
        Next::done()
    }
}

quadrille_sdk::plugin!(Careful, Stamper, Swallower);
