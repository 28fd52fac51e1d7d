//! What a run may do and how much of it: grants and limits.

use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_store::{Range, Selection};

use super::Overlay;

/// The two refusals that are the host's own, beside those of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A capability is missing from the plugin's grants.
    Denied,
    /// A limit of the run was reached.
    LimitReached,
}

/// Status causes carry the refusal, so that it survives as data.
const DENIED: &str = "CapabilityMissing";
const LIMIT: &str = "RunLimitReached";

impl Refusal {
    /// Which of them a status is; `None` for a refusal of the API.
    pub fn of(status: &Status) -> Option<Self> {
        let causes = &status.details.as_ref()?.causes;
        causes.iter().find_map(|cause| match cause.reason.as_str() {
            DENIED => Some(Self::Denied),
            LIMIT => Some(Self::LimitReached),
            _ => None,
        })
    }

    fn status(self, message: String) -> Status {
        let (reason, name) = match self {
            Self::Denied => (Reason::Forbidden, DENIED),
            Self::LimitReached => (Reason::RequestEntityTooLarge, LIMIT),
        };
        let mut status = Status::new(reason, message);
        let details = status.details.get_or_insert_default();
        details.causes.push(quadrille_registry::status::StatusCause {
            reason: name.to_owned(),
            ..quadrille_registry::status::StatusCause::default()
        });
        status
    }
}

impl Overlay {
    /// Refuses what the grant does not allow, and names what is missing.
    pub(super) fn allow(
        &self,
        verb: &str,
        resource: &GroupResource,
        subresource: Option<&str>,
        namespace: &str,
    ) -> Result<(), Status> {
        if self.grant.allows(verb, resource, subresource, namespace) {
            return Ok(());
        }
        let name = match subresource {
            Some(sub) => format!("{}/{sub}", resource.resource),
            None => resource.resource.as_ref().to_owned(),
        };
        let place = match namespace {
            "" => "in all namespaces".to_owned(),
            one => format!("in namespace \"{one}\""),
        };
        Err(Refusal::Denied.status(format!(
            "plugin \"{}\" may not {verb} {name} {place}: its grants lack the verb \"{verb}\" on \
             resource \"{name}\" in API group \"{}\"",
            self.owner.plugin, resource.group
        )))
    }

    /// Draws a read of `objects` and `bytes` on the budget.
    pub(super) fn count_read(&mut self, objects: usize, bytes: usize) -> Result<(), Status> {
        self.check_limit()?;
        self.used.objects_read += objects;
        self.used.bytes_read += bytes;
        let (used, limits) = (&self.used, &self.limits);
        let over = [
            ("objects read", used.objects_read, limits.objects_read_max),
            ("bytes read", used.bytes_read, limits.bytes_read_max),
        ];
        self.stop_over(&over)
    }

    /// Draws another list on the budget, before it is kept.
    pub(super) fn count_range(&mut self, range: &Range) -> Result<(), Status> {
        let lists = self.ranges_read.len() + self.ranges_read_weakly.len() + 1;
        if let Selection::Labels(selector) = &range.selection {
            self.selector_bytes += selector.size();
        }
        let over = [
            ("different lists", lists, self.limits.ranges_read_max),
            ("bytes of selectors", self.selector_bytes, self.limits.selector_bytes_max),
        ];
        self.stop_over(&over)
    }

    /// Draws a write of `bytes` on the budget.
    pub(super) fn count_write(&mut self, writes: usize, bytes: usize) -> Result<(), Status> {
        self.check_limit()?;
        self.used.writes += writes;
        self.used.bytes_written += bytes;
        let (used, limits) = (&self.used, &self.limits);
        let over = [
            ("writes", used.writes, limits.writes_max),
            ("bytes written", used.bytes_written, limits.bytes_written_max),
        ];
        self.stop_over(&over)
    }

    /// Draws an event on the budget.
    pub(super) fn count_event(&mut self) -> Result<(), Status> {
        self.check_limit()?;
        self.used.events += 1;
        self.stop_over(&[("events", self.used.events, self.limits.events_max)])
    }

    /// Once a limit was reached, every further call answers the same.
    pub(super) fn check_limit(&self) -> Result<(), Status> {
        self.limit_reached.clone().map_or(Ok(()), Err)
    }

    /// Ends a try of the run that cannot go on before a webhook was asked.
    pub(super) fn stop_waiting(&mut self) -> Status {
        let message = "a webhook is asked first, and the run made again".to_owned();
        let status = Refusal::LimitReached.status(message);
        self.limit_reached = Some(status.clone());
        status
    }

    fn stop_over(&mut self, meters: &[(&str, usize, usize)]) -> Result<(), Status> {
        let Some((what, used, max)) = meters.iter().find(|(_, used, max)| used > max) else {
            return Ok(());
        };
        let message = format!("limit of the run reached: {used} {what}, at most {max} are allowed");
        self.limit_reached = Some(Refusal::LimitReached.status(message));
        self.check_limit()
    }
}
