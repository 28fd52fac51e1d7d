//! The smallest controller: for each `Greeting` it keeps a `ConfigMap` with the text.

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

/// Writes the text of every greeting into a `ConfigMap` of the same name.
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

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_testing::World;

    #[test]
    fn a_greeting_gets_its_text_and_takes_it_along() {
        let mut world = World::new(plugin());
        world.apply(Greeting::new("world", GreetingSpec { name: "world".to_owned() }));
        world.settle();
        assert_eq!(world.expect::<ConfigMap>("world").data["text"], "Hello, world!");

        world.edit::<Greeting>("world", |greeting| greeting.spec.name = "moon".to_owned());
        world.settle();
        assert_eq!(world.expect::<Greeting>("world").status.text, "Hello, moon!");
        world.torture(50);
        world.expect_principles(plugin);

        world.delete::<Greeting>("world");
        world.settle();
        assert!(world.get::<ConfigMap>("world").is_none());
    }

    #[test]
    fn a_text_that_somebody_changed_is_put_right() {
        let mut world = World::new(plugin());
        world.apply(Greeting::new("world", GreetingSpec { name: "world".to_owned() }));
        world.settle();
        world.edit::<ConfigMap>("world", |map| {
            map.data.insert("text".to_owned(), "Go away!".to_owned());
        });
        world.settle();
        assert_eq!(world.expect::<ConfigMap>("world").data["text"], "Hello, world!");
    }
}
