//! Whose turn it is: plugins take turns, and within a plugin its controllers.
//!
//! Pure. It holds those that have ready keys; whether one may run now is asked at its turn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Controllers with ready keys, in turn.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    plugins: VecDeque<Arc<str>>,
    controllers: BTreeMap<Arc<str>, VecDeque<u32>>,
}

impl Rotation {
    /// Adds a controller at the end of its plugin's turn; nothing happens when it is there.
    pub(crate) fn add(&mut self, plugin: &Arc<str>, controller: u32) {
        if !self.controllers.contains_key(plugin) {
            self.plugins.push_back(Arc::clone(plugin));
        }
        let turn = self.controllers.entry(Arc::clone(plugin)).or_default();
        if !turn.contains(&controller) {
            turn.push_back(controller);
        }
    }

    /// Whether nobody is in line.
    pub(crate) fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }

    /// Takes a controller out.
    pub(crate) fn remove(&mut self, plugin: &Arc<str>, controller: u32) {
        let Some(turn) = self.controllers.get_mut(plugin) else { return };
        turn.retain(|other| *other != controller);
        if turn.is_empty() {
            self.controllers.remove(plugin);
            self.plugins.retain(|other| other != plugin);
        }
    }

    /// The next controller that may run, which goes to the end of the line.
    pub(crate) fn next(&mut self, mut may_run: impl FnMut(u32) -> bool) -> Option<u32> {
        for place in 0..self.plugins.len() {
            let plugin = Arc::clone(self.plugins.get(place)?);
            let turn = self.controllers.get_mut(&plugin)?;
            let Some(found) = turn.iter().position(|id| may_run(*id)) else { continue };
            let controller = turn.remove(found)?;
            turn.push_back(controller);
            self.plugins.remove(place);
            self.plugins.push_back(plugin);
            return Some(controller);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_take_turns_and_so_do_their_controllers() {
        let mut rotation = Rotation::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        for (plugin, id) in [(&a, 1), (&a, 2), (&b, 3), (&a, 1)] {
            rotation.add(plugin, id);
        }
        let turns: Vec<_> = (0..6).filter_map(|_| rotation.next(|_| true)).collect();
        assert_eq!(turns, [1, 3, 2, 3, 1, 3]);
        assert_eq!(rotation.next(|id| id == 2), Some(2));
        rotation.remove(&b, 3);
        assert_eq!(rotation.next(|id| id == 3), None);
    }
}
