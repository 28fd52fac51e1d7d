//! The query parameters of a request, parsed once.
//!
//! Unknown ones are ignored, as Kubernetes does; numbers that do not parse are refused in its words.

use std::borrow::Cow;

use quadrille_object::{FieldSelector, validate_name};
use quadrille_registry::{Reason, Status};

use crate::path::decode;

/// The query parameters; each `None` when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params<'a> {
    pub(crate) allow_watch_bookmarks: bool,
    pub(crate) r#continue: Option<Cow<'a, str>>,
    pub(crate) digest: Option<Cow<'a, str>>,
    pub(crate) dry_run: Vec<Cow<'a, str>>,
    pub(crate) field_manager: Option<Cow<'a, str>>,
    pub(crate) field_selector: Option<Cow<'a, str>>,
    pub(crate) field_validation: Option<Cow<'a, str>>,
    pub(crate) force: Option<bool>,
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) include_object: Option<Cow<'a, str>>,
    pub(crate) label_selector: Option<Cow<'a, str>>,
    pub(crate) limit: i64,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) pretty: Option<bool>,
    pub(crate) propagation_policy: Option<Cow<'a, str>>,
    pub(crate) resource_version: Option<Cow<'a, str>>,
    pub(crate) resource_version_match: Option<Cow<'a, str>>,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) watch: bool,
}

impl<'a> Params<'a> {
    /// Parses the part after the question mark.
    ///
    /// # Errors
    /// 400 when a number does not parse or a text is not UTF-8.
    pub(crate) fn parse(query: Option<&'a str>) -> Result<Self, Status> {
        let mut params = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.set(key, value)?;
        }
        Ok(params)
    }

    /// The one name that the field selector lets through, where it does.
    pub(crate) fn single_name(&self) -> Option<String> {
        let selector = FieldSelector::parse(self.field_selector.as_deref()?).ok()?;
        let name = selector.exact("metadata.name")?;
        validate_name::path_segment(name).is_empty().then(|| name.to_owned())
    }

    fn set(&mut self, key: &str, raw: &'a str) -> Result<(), Status> {
        let text = || query_text(raw);
        match key {
            "allowWatchBookmarks" => self.allow_watch_bookmarks = boolean(raw),
            "continue" => self.r#continue = Some(text()?).filter(|text| !text.is_empty()),
            "digest" => self.digest = Some(text()?),
            "dryRun" => self.dry_run.push(text()?),
            "fieldManager" => self.field_manager = Some(text()?).filter(|text| !text.is_empty()),
            "fieldSelector" => self.field_selector = Some(text()?).filter(|text| !text.is_empty()),
            "fieldValidation" => self.field_validation = Some(text()?).filter(|t| !t.is_empty()),
            "force" => self.force = Some(boolean(raw)),
            "gracePeriodSeconds" => self.grace_period_seconds = Some(number(&text()?)?),
            "includeObject" => self.include_object = Some(text()?),
            "labelSelector" => self.label_selector = Some(text()?).filter(|text| !text.is_empty()),
            "limit" => self.limit = number(&text()?)?,
            "orphanDependents" => self.orphan_dependents = Some(boolean(raw)),
            "pretty" => self.pretty = Some(boolean(raw)),
            "propagationPolicy" => self.propagation_policy = Some(text()?),
            "resourceVersion" => self.resource_version = Some(text()?).filter(|t| !t.is_empty()),
            "resourceVersionMatch" => {
                self.resource_version_match = Some(text()?).filter(|text| !text.is_empty());
            }
            "sendInitialEvents" => self.send_initial_events = Some(boolean(raw)),
            "timeoutSeconds" => self.timeout_seconds = u64::try_from(number(&text()?)?).ok(),
            "watch" => self.watch = boolean(raw),
            _ => {}
        }
        Ok(())
    }
}

/// One parameter of a query that is not of the resource tree; the first of that name.
pub(crate) fn parameter<'a>(query: Option<&'a str>, key: &str) -> Option<Cow<'a, str>> {
    let mut pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(of, _)| *of == key)?;
    query_text(value).ok()
}

fn query_text(raw: &str) -> Result<Cow<'_, str>, Status> {
    let malformed = || Status::new(Reason::BadRequest, format!("invalid URL escape in \"{raw}\""));
    if raw.contains('+') {
        let spaced = raw.replace('+', " ");
        return decode(&spaced).map(|text| Cow::Owned(text.into_owned())).ok_or_else(malformed);
    }
    decode(raw).ok_or_else(malformed)
}

/// Kubernetes' rule: `0` and `false` in any case are false, everything else (also nothing) is true.
fn boolean(raw: &str) -> bool {
    raw != "0" && !raw.eq_ignore_ascii_case("false")
}

fn number(text: &str) -> Result<i64, Status> {
    text.parse().map_err(|_| {
        let message = format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
        Status::new(Reason::BadRequest, message)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded_and_unknown_ones_ignored() {
        let query =
            "labelSelector=env+in+%28a%2Cb%29&watch=1&limit=500&foo=bar&force=false&dryRun=All";
        let params = Params::parse(Some(query)).expect("a good query");
        assert_eq!(params.label_selector.as_deref(), Some("env in (a,b)"));
        assert!(params.watch);
        assert_eq!((params.limit, params.force), (500, Some(false)));
        assert_eq!(params.dry_run, ["All"]);
        assert_eq!(parameter(Some("a=1&tail=5"), "tail").as_deref(), Some("5"));
    }

    #[test]
    fn numbers_that_do_not_parse_are_refused() {
        let error = Params::parse(Some("limit=x")).expect_err("no number");
        assert_eq!(error.message, "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert_eq!(Params::parse(Some("continue=%zz")).expect_err("no escape").code, 400);
    }

    proptest! {
        #[test]
        fn any_query_is_parsed_or_refused_with_a_400(
            pairs in prop::collection::vec(("[a-zA-Z]{0,24}|limit|continue|timeoutSeconds|watch|resourceVersion|force|\\PC{0,9}", "\\PC{0,40}|%[0-9a-f]{0,3}|-?[0-9]{0,24}"), 0..6),
        ) {
            let query: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
            let query = query.join("&");
            match Params::parse(Some(&query)) {
                Ok(params) => {
                    prop_assert_eq!(Params::parse(Some(&query)).expect("the same"), params.clone());
                    if let Some(token) = params.r#continue.as_deref() {
                        prop_assert!(crate::token::ContinueToken::decode(token).is_err());
                    }
                    // A time beyond what the clock can count must not overflow it.
                    prop_assert!(params.timeout_seconds.is_none_or(|seconds| i64::try_from(seconds).is_ok()));
                }
                Err(status) => prop_assert_eq!(status.code, 400),
            }
            drop(parameter(Some(&query), "tail"));
        }
    }
}
