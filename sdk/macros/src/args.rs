//! The arguments of `#[resource(…)]`.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Token, Type, parenthesized};

/// What stands in the parentheses.
#[derive(Default)]
pub(crate) struct ResourceArgs {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: Option<String>,
    pub(crate) plural: Option<String>,
    pub(crate) status: Option<Type>,
    pub(crate) short: Vec<LitStr>,
    pub(crate) categories: Vec<LitStr>,
    pub(crate) columns: Vec<(LitStr, LitStr)>,
    pub(crate) cluster: bool,
}

impl Parse for ResourceArgs {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut args = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            args.take(&key, input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        for (value, name) in [(&args.group, "group"), (&args.version, "version")] {
            if value.is_empty() {
                return Err(input.error(format!("`{name} = \"…\"` is missing")));
            }
        }
        Ok(args)
    }
}

impl ResourceArgs {
    fn take(&mut self, key: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
        match key.to_string().as_str() {
            "group" => self.group = text(input)?,
            "version" => self.version = text(input)?,
            "kind" => self.kind = Some(text(input)?),
            "plural" => self.plural = Some(text(input)?),
            "status" => {
                input.parse::<Token![=]>()?;
                self.status = Some(input.parse()?);
            }
            "short" => self.short = texts(input)?,
            "categories" => self.categories = texts(input)?,
            "column" => self.columns = columns(input)?,
            "cluster" => self.cluster = true,
            other => {
                let known =
                    "group, version, kind, plural, status, short, categories, column, cluster";
                let message = format!("unknown argument `{other}`; known are {known}");
                return Err(syn::Error::new(key.span(), message));
            }
        }
        Ok(())
    }
}

fn text(input: ParseStream<'_>) -> syn::Result<String> {
    input.parse::<Token![=]>()?;
    Ok(input.parse::<LitStr>()?.value())
}

fn texts(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let inside;
    parenthesized!(inside in input);
    Ok(Punctuated::<LitStr, Token![,]>::parse_terminated(&inside)?.into_iter().collect())
}

fn columns(input: ParseStream<'_>) -> syn::Result<Vec<(LitStr, LitStr)>> {
    let inside;
    parenthesized!(inside in input);
    let one = |input: ParseStream<'_>| {
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok((name, input.parse()?))
    };
    Ok(Punctuated::<_, Token![,]>::parse_terminated_with(&inside, one)?.into_iter().collect())
}
