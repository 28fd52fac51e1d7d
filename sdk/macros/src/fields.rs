//! What a field says about itself: its doc comment, its type and `#[field(…)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Expr, ExprLit, Field, Ident, Lit, LitStr, Type, parse_quote};

/// One field, ready to expand.
pub(crate) struct FieldPlan {
    /// The statements that make its schema.
    pub(crate) schema: TokenStream,
    /// Its name in JSON.
    pub(crate) name: String,
    /// Whether it must be there.
    pub(crate) required: bool,
    /// A function that makes its default; belongs into the struct's impl.
    pub(crate) default_fn: Option<TokenStream>,
}

/// Takes the `#[field]` attributes off a field, adds serde's, and says what its schema is.
pub(crate) fn plan(field: &mut Field, owner: &Ident, all_default: bool) -> syn::Result<FieldPlan> {
    let ident = field
        .ident
        .clone()
        .ok_or_else(|| syn::Error::new_spanned(&field.ty, "fields must have names"))?;
    let name = camel_case(&ident.to_string());
    let ty = field.ty.clone();
    let mut rules = Vec::new();
    let description = doc(&field.attrs);
    if !description.is_empty() {
        rules.push(quote!(schema["description"] = #description.into();));
    }
    let mut default = None;
    let attributes: Vec<Attribute> =
        field.attrs.extract_if(.., |a| a.path().is_ident("field")).collect();
    for attribute in attributes {
        attribute.parse_nested_meta(|meta| rule(&meta, &mut rules, &mut default))?;
    }
    let may_be_absent = optional(field);
    let default_fn = default.map(|value| default_function(field, &ident, owner, &value));
    let required = !may_be_absent && default_fn.is_none() && !all_default;
    let schema = quote! {{
        let mut schema = <#ty as ::quadrille_sdk::Schema>::schema();
        #(#rules)*
        properties.insert(#name.to_owned(), schema);
    }};
    Ok(FieldPlan { schema, name, required, default_fn })
}

fn rule(
    meta: &syn::meta::ParseNestedMeta<'_>,
    rules: &mut Vec<TokenStream>,
    default: &mut Option<Expr>,
) -> syn::Result<()> {
    let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
    if key == "immutable" {
        rules.push(quote! {
            schema["x-kubernetes-validations"] = ::quadrille_sdk::serde_json::json!([
                {"rule": "self == oldSelf", "message": "the field is immutable"}
            ]);
        });
        return Ok(());
    }
    if key == "one_of" {
        let inside;
        syn::parenthesized!(inside in meta.input);
        let all = syn::punctuated::Punctuated::<LitStr, syn::Token![,]>::parse_terminated(&inside)?;
        let all = all.iter();
        rules.push(quote!(schema["enum"] = ::quadrille_sdk::serde_json::json!([#(#all),*]);));
        return Ok(());
    }
    let value: Expr = meta.value()?.parse()?;
    let word = match key.as_str() {
        "min" => "minimum",
        "max" => "maximum",
        "min_length" => "minLength",
        "max_length" => "maxLength",
        "min_items" => "minItems",
        "max_items" => "maxItems",
        "pattern" => "pattern",
        "format" => "format",
        "default" => {
            rules.push(quote! {
                schema["default"] = ::quadrille_sdk::serde_json::json!(#value);
            });
            *default = Some(value);
            return Ok(());
        }
        _ => {
            let known = "min, max, min_length, max_length, min_items, max_items, pattern, format, \
                         default, one_of, immutable";
            return Err(meta.error(format!("unknown rule `{key}`; known are {known}")));
        }
    };
    rules.push(quote!(schema[#word] = ::quadrille_sdk::serde_json::json!(#value);));
    Ok(())
}

/// Lets a field be absent where its type has a word for that; says whether it does.
fn optional(field: &mut Field) -> bool {
    let Type::Path(path) = &field.ty else { return false };
    let outer = path.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
    let skip = match outer.as_str() {
        "Option" => "::core::option::Option::is_none",
        "Vec" => "::std::vec::Vec::is_empty",
        "BTreeMap" | "Labels" => "::std::collections::BTreeMap::is_empty",
        "Conditions" => {
            field.attrs.push(parse_quote!(#[serde(default)]));
            return true;
        }
        _ => return false,
    };
    field.attrs.push(parse_quote!(#[serde(default, skip_serializing_if = #skip)]));
    true
}

fn default_function(field: &mut Field, ident: &Ident, owner: &Ident, value: &Expr) -> TokenStream {
    let function = format_ident!("default_{ident}");
    let path = format!("{owner}::{function}");
    let ty = &field.ty;
    field.attrs.push(parse_quote!(#[serde(default = #path)]));
    let value = if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value {
        quote!(#text.into())
    } else {
        quote!(#value)
    };
    quote! {
        fn #function() -> #ty {
            #value
        }
    }
}

/// The doc comment as one text: lines of a paragraph joined, paragraphs apart.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("doc")) {
        let syn::Meta::NameValue(pair) = &attribute.meta else { continue };
        let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value else { continue };
        let line = line.value();
        match line.trim() {
            "" => text.push_str("\n\n"),
            line => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push(' ');
                }
                text.push_str(line);
            }
        }
    }
    text.trim().to_owned()
}

/// `ready_replicas` as `readyReplicas`, as serde's `camelCase` has it.
pub(crate) fn camel_case(name: &str) -> String {
    let name = name.trim_start_matches("r#");
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}
