//! A controller: for each `{{Kind}}` it keeps a `ConfigMap`.

use quadrille_sdk::prelude::*;

/// What a {{Kind}} is to be.
#[resource(group = "example.dev", version = "v1", status = {{Kind}}Status, column("Ready" = ".status.ready"))]
pub struct {{Kind}}Spec {
    /// The text that is kept.
    #[field(min_length = 1)]
    pub text: String,
}

/// What is observed of it.
#[schema]
#[derive(Default)]
pub struct {{Kind}}Status {
    /// Whether the text is in place.
    pub ready: bool,
}

/// The controller.
#[derive(Debug)]
pub struct {{Kind}}Controller;

impl Controller for {{Kind}}Controller {
    type Primary = {{Kind}};
    const NAME: &'static str = "{{name}}";
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];

    fn reconcile(object: &{{Kind}}, ctx: &Context) -> Result<Next> {
        ctx.ensure(ConfigMap::new(object.name()).with("text", &object.spec.text))?;
        ctx.set_status(&{{Kind}}Status { ready: true })?;
        Next::done()
    }
}

quadrille_sdk::plugin!({{Kind}}Controller);

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_testing::World;

    #[test]
    fn the_text_is_kept() {
        let mut world = World::new(plugin());
        world.apply({{Kind}}::new("first", {{Kind}}Spec { text: "Hello".to_owned() }));
        world.settle();
        assert_eq!(world.expect::<ConfigMap>("first").data["text"], "Hello");
        world.torture(50);
    }
}
