//! The smallest controller: for each `Greeting` it keeps a ConfigMap with the text.

use quadrille_sdk::prelude::*;

/// A greeting for somebody.
#[resource(group = "hello.quadrille.dev", version = "v1", status = GreetingStatus, column("Text" = ".status.text"))]
pub struct GreetingSpec {
    /// Whom to greet.
    #[field(min_length = 1, max_length = 100)]
    pub name: String,
}

/// What became of it.
#[schema]
#[derive(Default)]
pub struct GreetingStatus {
    /// The text that was written.
    pub text: String,
}

/// Writes the text of every greeting into a ConfigMap of the same name.
#[derive(Debug)]
pub struct Hello;

impl Controller for Hello {
    type Primary = Greeting;
    const NAME: &'static str = "hello";
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];

    fn reconcile(greeting: &Greeting, ctx: &Context) -> Result<Next> {
        let text = format!("Hello, {}!", greeting.spec.name);
        ctx.ensure(ConfigMap::new(greeting.name()).with("text", &text))?;
        ctx.set_status(&GreetingStatus { text })?;
        Next::done()
    }
}

quadrille_sdk::plugin!(Hello);
