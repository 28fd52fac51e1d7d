//! `#[resource]`: a kind from its spec.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ItemStruct;

use crate::args::ResourceArgs;
use crate::{fields, schema};

pub(crate) fn expand(args: ResourceArgs, item: ItemStruct) -> syn::Result<TokenStream> {
    let spec = item.ident.clone();
    let kind = match &args.kind {
        Some(kind) => kind.clone(),
        None => spec.to_string().strip_suffix("Spec").map(str::to_owned).ok_or_else(|| {
            syn::Error::new_spanned(&spec, "name the struct `…Spec`, or say `kind = \"…\"`")
        })?,
    };
    let ident = format_ident!("{kind}");
    if ident == spec {
        return Err(syn::Error::new_spanned(&spec, "the spec cannot have the name of the kind"));
    }
    let description = fields::doc(&item.attrs);
    let object = object_struct(&ident, &spec, &args, &item.vis, &description);
    let resource = resource_impl(&ident, &spec, &kind, args, &description);
    let spec_struct = schema::expand_struct(item)?;
    Ok(quote!(#spec_struct #object #resource))
}

fn object_struct(
    ident: &syn::Ident,
    spec: &syn::Ident,
    args: &ResourceArgs,
    visible: &syn::Visibility,
    description: &str,
) -> TokenStream {
    let is_default = format!("{ident}::is_default_status");
    let status_field = args.status.as_ref().map(|status| {
        quote! {
            /// What is observed.
            #[serde(default, skip_serializing_if = #is_default)]
            pub status: #status,
        }
    });
    let status_value =
        args.status.as_ref().map(|_| quote!(status: ::core::default::Default::default(),));
    let skip = args.status.as_ref().map(|status| {
        quote! {
            fn is_default_status(status: &#status) -> bool {
                *status == <#status as ::core::default::Default>::default()
            }
        }
    });
    quote! {
        #[doc = #description]
        #[derive(
            Clone, Debug, PartialEq,
            ::quadrille_sdk::serde::Serialize, ::quadrille_sdk::serde::Deserialize,
        )]
        #[serde(crate = "::quadrille_sdk::serde")]
        #visible struct #ident {
            /// The metadata.
            #[serde(default)]
            pub metadata: ::quadrille_sdk::Metadata,
            /// What is wanted.
            pub spec: #spec,
            #status_field
        }

        impl #ident {
            /// One with a name and a spec.
            pub fn new(name: impl ::core::convert::Into<::std::string::String>, spec: #spec) -> Self {
                let metadata = ::quadrille_sdk::Metadata::named(name);
                Self { metadata, spec, #status_value }
            }

            #skip
        }
    }
}

fn resource_impl(
    ident: &syn::Ident,
    spec: &syn::Ident,
    kind: &str,
    args: ResourceArgs,
    description: &str,
) -> TokenStream {
    let ResourceArgs {
        group, version, plural, status, short, categories, columns, cluster, ..
    } = args;
    let plural = plural.unwrap_or_else(|| format!("{}s", kind.to_lowercase()));
    let namespaced = !cluster;
    let observes = status.is_some();
    let status_schema = status.map_or_else(
        || quote!(None),
        |status| quote!(Some(<#status as ::quadrille_sdk::Schema>::schema())),
    );
    let columns = columns
        .iter()
        .map(|(name, path)| quote!(::quadrille_sdk::schema::Column { name: #name, path: #path }));
    quote! {
        impl ::quadrille_sdk::Resource for #ident {
            const GROUP: &'static str = #group;
            const VERSION: &'static str = #version;
            const KIND: &'static str = #kind;
            const PLURAL: &'static str = #plural;
            const NAMESPACED: bool = #namespaced;
            const OBSERVES_GENERATION: bool = #observes;

            fn meta(&self) -> &::quadrille_sdk::Metadata {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ::quadrille_sdk::Metadata {
                &mut self.metadata
            }

            fn definition() -> Option<::quadrille_sdk::serde_json::Value> {
                let names = ::quadrille_sdk::schema::DefinitionNames {
                    group: #group,
                    version: #version,
                    kind: #kind,
                    plural: #plural,
                    short_names: &[#(#short),*],
                    categories: &[#(#categories),*],
                    namespaced: #namespaced,
                    columns: &[#(#columns),*],
                    description: #description,
                };
                let spec = <#spec as ::quadrille_sdk::Schema>::schema();
                Some(::quadrille_sdk::schema::definition(&names, &spec, #status_schema))
            }
        }
    }
}
