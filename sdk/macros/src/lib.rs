//! The attribute macros of `quadrille-sdk`: `#[resource]` and `#[schema]`.
//!
//! They own the way from a struct to JSON and to a schema. What they expand to names only `::quadrille_sdk`.

mod args;
mod fields;
mod resource;
mod schema;

use proc_macro::TokenStream;

/// Makes a kind of a spec struct: `#[resource(group = "demo.dev", version = "v1", kind = "Website")]`.
///
/// `WebsiteSpec` below it gives `Website` with `metadata`, `spec` and `status`, its `Resource` implementation, and
/// its `CustomResourceDefinition`. Doc comments become descriptions.
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `group`, `version`, `kind` | what it is called | required; `kind` is the struct's name less `Spec` |
/// | `plural` | the resource | the kind in lower case and an `s` |
/// | `status = Type` | the type of the status; with one there is a status subresource | none |
/// | `short("ws", …)` | short names | none |
/// | `categories("all", …)` | categories | none |
/// | `column("Ready" = ".status.ready", …)` | columns of `kubectl get` | the host's |
/// | `cluster` | its objects are in no namespace | they are in one |
///
/// Fields take `#[field(…)]`, see [`macro@schema`].
#[proc_macro_attribute]
pub fn resource(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = syn::parse_macro_input!(args as args::ResourceArgs);
    let item = syn::parse_macro_input!(item as syn::ItemStruct);
    resource::expand(args, item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct or an enum without data part of a kind: JSON in camelCase and a schema.
///
/// It derives `Clone`, `Debug`, `PartialEq`, `Serialize` and `Deserialize`. `Option`, `Vec` and map fields may be
/// absent; with `#[derive(Default)]` beside it, all fields may. Fields take `#[field(…)]` with
/// `min = 1`, `max = 9`, `min_length = 1`, `max_length = 63`, `pattern = "…"`, `format = "…"`, `default = …`,
/// `one_of("a", "b")`, `immutable`.
#[proc_macro_attribute]
pub fn schema(args: TokenStream, item: TokenStream) -> TokenStream {
    let _none = syn::parse_macro_input!(args as syn::parse::Nothing);
    let item = syn::parse_macro_input!(item as syn::Item);
    schema::expand(item).unwrap_or_else(syn::Error::into_compile_error).into()
}
