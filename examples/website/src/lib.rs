//! Websites: each gets its page in a `ConfigMap`, a Deployment that serves it, and a line in a shared directory.
//!
//! The page and the Deployment belong to the website and go with it. The directory belongs to nobody, so the line in
//! it is what the finalizer is for.

use quadrille_sdk::k8s::{Deployment, Raw};
use quadrille_sdk::prelude::*;
use serde_json::json;

/// A website with one page.
#[resource(
    group = "example.quadrille.dev", version = "v1", status = WebsiteStatus, short("ws"),
    column("Title" = ".spec.title", "Available" = ".status.available")
)]
pub struct WebsiteSpec {
    /// What stands at the top of the page.
    #[field(min_length = 1, max_length = 80)]
    pub title: String,
    /// How many pods serve it.
    #[field(default = 1, min = 0, max = 10)]
    pub replicas: i64,
}

/// What is observed of a website.
#[schema]
#[derive(Default)]
pub struct WebsiteStatus {
    /// How many pods can serve it now.
    pub available: i64,
    /// `Ready`: all wanted pods can serve it.
    pub conditions: Conditions,
}

/// The `ConfigMap` in each namespace that lists its websites.
pub const DIRECTORY: &str = "websites";

/// Brings websites up.
#[derive(Debug)]
pub struct Websites;

impl Controller for Websites {
    type Primary = Website;
    const NAME: &'static str = "website";
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>(), owns::<Deployment>()];
    const FINALIZER: Option<&'static str> = Some("example.quadrille.dev/directory");

    fn reconcile(website: &Website, ctx: &Context) -> Result<Next> {
        let WebsiteSpec { title, replicas } = &website.spec;
        let page = format!("<!doctype html><title>{title}</title><h1>{title}</h1>");
        ctx.ensure(ConfigMap::new(website.name()).with("index.html", page))?;
        let available = ctx.ensure(server(website))?.status.available_replicas;
        list_as(website, ctx, Some(title))?;

        let mut status = website.status.clone();
        status.available = available;
        let message = format!("{available} of {replicas} pods can serve it");
        status.conditions.set("Ready", available >= *replicas, "PodsCounted", message);
        ctx.set_status(&status)?;
        Next::done()
    }

    fn finalize(website: &Website, ctx: &Context) -> Result<Next> {
        list_as(website, ctx, None)?;
        info!(ctx, "{} is off the directory", website.name());
        Next::done()
    }
}

quadrille_sdk::plugin!(Websites);

/// The Deployment that serves the page.
fn server(website: &Website) -> Deployment {
    let labels = [("website".to_owned(), website.name().to_owned())];
    let mut server =
        Deployment { metadata: Metadata::named(website.name()), ..Deployment::default() };
    server.spec.replicas = Some(website.spec.replicas);
    server.spec.selector.match_labels.extend(labels.clone());
    server.spec.template.metadata.labels.extend(labels);
    server.spec.template.spec = Some(Raw::from(json!({
        "containers": [{
            "name": "httpd", "image": "httpd:2.4",
            "volumeMounts": [{"name": "page", "mountPath": "/usr/local/apache2/htdocs"}],
        }],
        "volumes": [{"name": "page", "configMap": {"name": website.name()}}],
    })));
    server
}

/// Writes the website's line in the directory, or takes it out.
fn list_as(website: &Website, ctx: &Context, title: Option<&String>) -> Result<()> {
    match (ctx.get::<ConfigMap>(DIRECTORY)?, title) {
        (Some(known), title) if known.data.get(website.name()) == title => {}
        (Some(known), title) => {
            ctx.patch(&known, &json!({"data": {website.name(): title}}))?;
        }
        (None, Some(title)) => {
            ctx.apply(ConfigMap::new(DIRECTORY).with(website.name(), title))?;
        }
        (None, None) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_testing::World;

    fn website(name: &str, replicas: i64) -> Website {
        Website::new(name, WebsiteSpec { title: format!("About {name}"), replicas })
    }

    #[test]
    fn a_website_is_ready_when_its_pods_are() {
        let mut world = World::new(plugin());
        world.apply(website("cats", 2));
        world.settle();
        assert!(!world.expect::<Website>("cats").status.conditions.is_true("Ready"));
        let status = json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2});
        world.set_status::<Deployment>("cats", &status);
        world.settle();
        assert!(world.expect::<Website>("cats").status.conditions.is_true("Ready"));
        assert!(world.expect::<ConfigMap>("cats").data["index.html"].contains("About cats"));
        world.torture(30);
    }

    #[test]
    fn a_deleted_website_leaves_the_directory_and_takes_its_children_along() {
        let mut world = World::new(plugin());
        world.apply(website("cats", 1));
        world.apply(website("dogs", 1));
        world.settle();
        assert_eq!(world.expect::<ConfigMap>(DIRECTORY).data.len(), 2);
        world.delete::<Website>("cats");
        world.settle();
        assert!(world.get::<Website>("cats").is_none());
        assert!(world.get::<Deployment>("cats").is_none());
        let left: Vec<String> = world.expect::<ConfigMap>(DIRECTORY).data.into_keys().collect();
        assert_eq!(left, ["dogs"]);
    }

    #[test]
    fn the_schema_is_enforced() {
        let mut world = World::new(plugin());
        let bad = json!({
            "apiVersion": "example.quadrille.dev/v1", "kind": "Website",
            "metadata": {"name": "bad"}, "spec": {"title": "Much", "replicas": 11},
        });
        let refused = world.apply_json(&bad).expect_err("11 is more than 10");
        assert_eq!(refused.code, 422);
        let plain = json!({
            "apiVersion": "example.quadrille.dev/v1", "kind": "Website",
            "metadata": {"name": "plain"}, "spec": {"title": "Plain"},
        });
        assert_eq!(
            world.apply_json(&plain).expect("replicas has a default")["spec"]["replicas"],
            1
        );
    }
}
