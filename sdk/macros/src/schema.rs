//! `#[schema]`: structs and enums without data as parts of a kind.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Fields, Item, ItemEnum, ItemStruct};

use crate::fields;

pub(crate) fn expand(item: Item) -> syn::Result<TokenStream> {
    if let Item::Struct(item) = item {
        expand_struct(item)
    } else if let Item::Enum(item) = &item {
        expand_enum(item)
    } else {
        Err(syn::Error::new_spanned(item, "#[schema] is for structs and enums"))
    }
}

/// The struct with serde's attributes, and its schema.
pub(crate) fn expand_struct(mut item: ItemStruct) -> syn::Result<TokenStream> {
    let all_default = derives_default(&item.attrs);
    let ident = item.ident.clone();
    let Fields::Named(named) = &mut item.fields else {
        return Err(syn::Error::new_spanned(&item.ident, "fields must have names"));
    };
    let mut plans = Vec::new();
    for field in &mut named.named {
        plans.push(fields::plan(field, &ident, all_default)?);
    }
    let properties = plans.iter().map(|plan| &plan.schema);
    let required: Vec<&String> = plans.iter().filter(|p| p.required).map(|p| &p.name).collect();
    let default_fns = plans.iter().filter_map(|plan| plan.default_fn.as_ref());
    let description = described(&item.attrs);
    let container_default = all_default.then(|| quote!(#[serde(default)]));
    let required = (!required.is_empty()).then(
        || quote!(schema["required"] = ::quadrille_sdk::serde_json::json!([#(#required),*]);),
    );
    Ok(quote! {
        #[derive(
            Clone, Debug, PartialEq,
            ::quadrille_sdk::serde::Serialize, ::quadrille_sdk::serde::Deserialize,
        )]
        #[serde(crate = "::quadrille_sdk::serde", rename_all = "camelCase")]
        #container_default
        #item

        impl #ident {
            #(#default_fns)*
        }

        impl ::quadrille_sdk::Schema for #ident {
            fn schema() -> ::quadrille_sdk::serde_json::Value {
                let mut properties = ::quadrille_sdk::serde_json::Map::new();
                #(#properties)*
                let mut schema = ::quadrille_sdk::serde_json::json!({"type": "object"});
                schema["properties"] = properties.into();
                #required
                #description
                schema
            }
        }
    })
}

fn expand_enum(item: &ItemEnum) -> syn::Result<TokenStream> {
    let ident = &item.ident;
    let mut words = Vec::new();
    for variant in &item.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new_spanned(variant, "variants must have no fields"));
        }
        words.push(variant.ident.to_string());
    }
    let description = described(&item.attrs);
    Ok(quote! {
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            ::quadrille_sdk::serde::Serialize, ::quadrille_sdk::serde::Deserialize,
        )]
        #[serde(crate = "::quadrille_sdk::serde")]
        #item

        impl ::quadrille_sdk::Schema for #ident {
            fn schema() -> ::quadrille_sdk::serde_json::Value {
                let mut schema = ::quadrille_sdk::serde_json::json!({"type": "string"});
                schema["enum"] = ::quadrille_sdk::serde_json::json!([#(#words),*]);
                #description
                schema
            }
        }
    })
}

fn described(attributes: &[Attribute]) -> Option<TokenStream> {
    let text = fields::doc(attributes);
    (!text.is_empty()).then(|| quote!(schema["description"] = #text.into();))
}

fn derives_default(attributes: &[Attribute]) -> bool {
    let mut found = false;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("derive")) {
        // What is not a plain list of paths is not `Default` either; rustc reports it.
        let _parsed = attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("Default");
            Ok(())
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::fields::camel_case;

    #[test]
    fn names_become_camel_case() {
        assert_eq!(camel_case("ready_replicas"), "readyReplicas");
        assert_eq!(camel_case("r#type"), "type");
        assert_eq!(camel_case("a"), "a");
    }
}
