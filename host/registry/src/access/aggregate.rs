//! Aggregated cluster roles: their rules are those of the cluster roles that their selectors choose.

use std::collections::HashSet;
use std::sync::Arc;

use super::Access;
use super::index::{Books, RoleContent};
use super::rule::PolicyRule;

impl Access {
    /// The aggregated cluster roles whose rules are not what they should be, with the rules they should have.
    pub(super) fn stale(&self) -> Vec<(Arc<str>, Vec<PolicyRule>)> {
        // Requests wait for the books.
        let mut all = {
            let books = self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            cluster_roles(&books)
        };
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut stale = Vec::new();
        for (name, role) in &all {
            let Some(selectors) = &role.selectors else { continue };
            let (mut rules, mut seen, mut taken) = (Vec::new(), HashSet::new(), HashSet::new());
            for selector in selectors {
                let chosen =
                    all.iter().filter(|(other, of)| other != name && selector.matches(&of.meta));
                // A role that several selectors choose gives its rules once.
                for (_, of) in chosen.filter(|(other, _)| taken.insert(other)) {
                    rules.extend(of.rules.iter().filter(|rule| seen.insert(*rule)));
                }
            }
            if !rules.iter().copied().eq(&role.rules) {
                stale.push((Arc::clone(name), rules.into_iter().cloned().collect()));
            }
        }
        stale
    }
}

fn cluster_roles(books: &Books) -> Vec<(Arc<str>, Arc<RoleContent>)> {
    let roles = books.roles.iter().filter(|(name, _)| name.namespace.is_empty());
    roles
        .filter_map(|(name, slot)| Some((Arc::clone(&name.name), slot.role.content.load_full()?)))
        .collect()
}
