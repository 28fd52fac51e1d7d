//! A component of the controller world from a few lines of text.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, UnresolvedPackageGroup};

use crate::memory::{Image, words};

const CONTROLLER_WIT: &str = include_str!("../../../wit/controller.wit");

/// A verb list on a resource, as the guest asks for it.
#[derive(Clone, Debug)]
pub struct Capability {
    /// The API group.
    pub group: &'static str,
    /// The resource, or `resource/subresource`.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: Vec<&'static str>,
}

/// A guest with one controller. Its `reconcile` does nothing unless it is given a body.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The version that it describes itself with.
    pub version: String,
    /// The name of its controller.
    pub controller: String,
    /// Group, version and plural name of its primary resource.
    pub primary: (String, String, String),
    /// Only objects with these labels; empty for all.
    pub selector: String,
    /// How many runs at once.
    pub concurrency: u32,
    /// The finalizer that the host keeps for it; empty for none.
    pub finalizer: String,
    /// What it asks for.
    pub capabilities: Vec<Capability>,
    /// The `CustomResourceDefinition`s that it brings, as JSON.
    pub crds: Vec<String>,
    /// Instructions at the start of `describe`.
    pub describe: String,
    /// Instructions of `reconcile`; `(local.get $request)` is the request, the answer's pointer is left on the stack.
    pub reconcile: String,
    /// Further definitions of the module: globals, functions, data.
    pub definitions: String,
    /// Texts that are placed in memory: `$NAME` and `$NAME_len` in the bodies are replaced by where.
    pub texts: Vec<(&'static str, String)>,
    /// A custom section, to make otherwise equal guests distinct.
    pub mark: Option<Vec<u8>>,
    /// Pages of memory that it declares.
    pub pages: u32,
}

/// Where `reconcile` finds the answer `ok(done)`.
const DONE: &str = "(i32.const 1024)";

impl Default for Guest {
    fn default() -> Self {
        Self {
            version: "1".to_owned(),
            controller: "guest".to_owned(),
            primary: (String::new(), "v1".to_owned(), "configmaps".to_owned()),
            selector: String::new(),
            concurrency: 1,
            finalizer: String::new(),
            capabilities: vec![Capability {
                group: "",
                resource: "configmaps",
                verbs: vec!["get", "list", "create", "update", "patch", "delete"],
            }],
            crds: Vec::new(),
            describe: String::new(),
            reconcile: DONE.to_owned(),
            definitions: String::new(),
            texts: Vec::new(),
            mark: None,
            pages: 1,
        }
    }
}

impl Guest {
    /// The component.
    ///
    /// # Panics
    /// When the texts of its bodies are not WebAssembly: guests are written by tests.
    pub fn build(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).expect("the guest's text is WebAssembly");
        let mut resolve = Resolve::default();
        let group = UnresolvedPackageGroup::parse("controller.wit", CONTROLLER_WIT);
        let group = group.map_err(|(_, error)| error).expect("the contract parses");
        let package = resolve.push_group(group).expect("the contract resolves");
        let world = resolve.select_world(&[package], None).expect("it has one world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("a module takes a custom section");
        let encoder = ComponentEncoder::default().validate(true).module(&module);
        let mut encoder = encoder.expect("the module fits its world");
        let mut component = encoder.encode().expect("the module fits its world");
        if let Some(mark) = &self.mark {
            append_section(&mut component, mark);
        }
        component
    }

    /// A guest that reads its primary object and patches `data.n` with a random number: one read, one write.
    pub fn reads_and_writes() -> Self {
        Self {
            reconcile: include_str!("../wat/read-write.wat").to_owned(),
            texts: vec![("patch", r#"{"data":{"n":"0000000000000000"}}"#.to_owned())],
            ..Self::default()
        }
    }

    /// A guest that merges the text `patch`, which the caller adds, into its primary object.
    pub fn stamps() -> Self {
        Self { reconcile: include_str!("../wat/stamp.wat").to_owned(), ..Self::default() }
    }

    /// The component with so many pages of memory declared.
    pub fn memory(&self, pages: u32) -> Vec<u8> {
        Self { pages, ..self.clone() }.build()
    }

    /// The module's text.
    fn text(&self) -> String {
        let mut image = Image::new(2_048);
        let mut reconcile = self.reconcile.clone();
        let mut describe = self.describe.clone();
        for (name, text) in &self.texts {
            let at = image.place(text.as_bytes());
            for body in [&mut reconcile, &mut describe] {
                *body = body
                    .replace(&format!("${name}_len"), &text.len().to_string())
                    .replace(&format!("${name}_at"), &at.to_string());
            }
        }
        let description = self.description(&mut image);
        include_str!("../wat/frame.wat")
            .replace(";;REQUEST-DESCRIBE", &describe)
            .replace(";;REQUEST-RECONCILE", &reconcile)
            .replace(";;DEFINITIONS", &self.definitions)
            .replace("DESCRIPTION", &description.to_string())
            .replace("PAGES", &self.pages.to_string())
            .replace("HEAP", &(image.end().next_multiple_of(1_024)).to_string())
            .replace("IMAGE", &image.escaped())
    }

    fn description(&self, image: &mut Image) -> u32 {
        let version = image.text(&self.version);
        let (group, api_version, resource) = &self.primary;
        let mut controller = image.text(&self.controller);
        for text in [group, api_version, resource] {
            controller.extend(image.text(text));
        }
        controller.extend(image.text(&self.selector));
        controller.extend(words(&[self.concurrency, 0, u32::from(!self.finalizer.is_empty())]));
        controller.extend(image.text(&self.finalizer));
        // It writes in its own name.
        controller.extend(image.text(""));
        let crds: Vec<Vec<u8>> = self.crds.iter().map(|crd| image.text(crd)).collect();
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let mut asked = image.text(capability.group);
            asked.extend(image.text(capability.resource));
            let verbs: Vec<Vec<u8>> =
                capability.verbs.iter().map(|verb| image.text(verb)).collect();
            asked.extend(image.list(&verbs));
            capabilities.push(asked);
        }
        let mut description = version;
        description.extend(image.list(&[controller]));
        description.extend(image.list(&crds));
        description.extend(image.list(&capabilities));
        image.place(&description)
    }
}

fn append_section(component: &mut Vec<u8>, mark: &[u8]) {
    let section = wasm_encoder::CustomSection { name: "mark".into(), data: mark.into() };
    wasm_encoder::ComponentSection::append_to_component(&section, component);
}
