//! Aggregated cluster roles: their rules are those of the cluster roles that their selectors choose.

use std::sync::Arc;

use super::Access;
use super::index::{Books, RoleContent};
use super::rule::PolicyRule;

impl Access {
    /// The aggregated cluster roles whose rules are not what they should be, with the rules they should have.
    pub(super) fn stale(&self) -> Vec<(Arc<str>, Vec<PolicyRule>)> {
        let books = self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut all = cluster_roles(&books);
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut stale = Vec::new();
        for (name, role) in &all {
            let Some(selectors) = &role.selectors else { continue };
            let mut rules: Vec<PolicyRule> = Vec::new();
            for selector in selectors {
                let chosen =
                    all.iter().filter(|(other, of)| other != name && selector.matches(&of.meta));
                for rule in chosen.flat_map(|(_, of)| &of.rules) {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            if rules != role.rules {
                stale.push((Arc::clone(name), rules));
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
