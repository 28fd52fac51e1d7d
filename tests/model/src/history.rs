//! What happened, as those who took part noted it, and as the store tells it afterwards.

use std::collections::{BTreeMap, BTreeSet};

/// An object, as far as the model knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The revision of its last change.
    pub revision: u64,
    /// What was written last: no two writes write the same.
    pub tag: String,
    /// The value of its one label.
    pub label: String,
    /// The uid of its one owner.
    pub owner: String,
}

/// All objects at one revision, by name.
pub type Objects = BTreeMap<String, State>;

/// Which objects a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All of them.
    All,
    /// Those with one of these values of the label.
    Labels(Vec<String>),
    /// Those with this owner.
    Owner(String),
    /// Those with these names.
    Names(BTreeSet<String>),
}

impl Choice {
    /// What a list at one state has to find: name, revision, tag.
    pub fn find(&self, objects: &Objects) -> Vec<(String, u64, String)> {
        let fits = |name: &String, state: &State| match self {
            Self::All => true,
            Self::Labels(values) => values.contains(&state.label),
            Self::Owner(uid) => state.owner == *uid,
            Self::Names(names) => names.contains(name),
        };
        let found = objects.iter().filter(|(name, state)| fits(name, state));
        found.map(|(name, state)| (name.clone(), state.revision, state.tag.clone())).collect()
    }
}

/// One thing that was read, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One object: its revision and its tag.
    Get {
        /// Which.
        name: String,
        /// What was found.
        found: Option<(u64, String)>,
    },
    /// Several.
    List {
        /// Which.
        choice: Choice,
        /// What was found: name, revision, tag.
        found: Vec<(String, u64, String)>,
    },
}

impl Read {
    /// Whether that is what stands there.
    pub fn is_true(&self, objects: &Objects) -> bool {
        match self {
            Self::Get { name, found } => {
                let stands = objects.get(name).map(|state| (state.revision, state.tag.clone()));
                *found == stands
            }
            Self::List { choice, found } => choice.find(objects) == *found,
        }
    }

    /// The same, but for what whoever read it then wrote: that stands as it was left.
    pub fn is_true_beside(
        &self,
        objects: &Objects,
        own: &BTreeMap<String, Option<String>>,
    ) -> bool {
        match self {
            Self::Get { name, .. } => own.contains_key(name) || self.is_true(objects),
            Self::List { choice, found } => {
                let standing = choice.find(objects);
                let others = |(name, ..): &&(String, u64, String)| !own.contains_key(name);
                found.iter().filter(others).eq(standing.iter().filter(others))
            }
        }
    }
}

/// What a run noted.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The controller.
    pub controller: String,
    /// The name of the object that it ran for.
    pub of: String,
    /// Its place in the order in which runs began.
    pub start: u64,
    /// The revision of its snapshot.
    pub at: u64,
    /// Everything acknowledged to anybody when it began.
    pub acknowledged: u64,
    /// What it read of others, before it wrote there itself.
    pub reads: Vec<Read>,
    /// The names that it left changed, each with its tag; none for what it deleted.
    pub writes: BTreeMap<String, Option<String>>,
    /// Whether it ended well.
    pub ended_well: bool,
}

/// What a client noted.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A write that was acknowledged.
    Wrote {
        /// The write's number.
        number: u64,
        /// Everything acknowledged to anybody before it was asked for.
        acknowledged: u64,
        /// The revision that was answered.
        revision: u64,
        /// The object.
        name: String,
        /// The tag; none for a deletion.
        tag: Option<String>,
    },
    /// A write that was refused, for another reason than that nobody could say what came of it.
    Refused {
        /// The write's number.
        number: u64,
        /// What was answered.
        why: String,
    },
    /// Reads of one snapshot.
    Looked {
        /// Everything acknowledged to anybody before.
        acknowledged: u64,
        /// The revision of the snapshot.
        at: u64,
        /// What was read.
        reads: Vec<Read>,
    },
}

/// Who made a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Maker {
    /// A run, by its number.
    Run(u64),
    /// A write of a client, by its number.
    Client(u64),
    /// Somebody else, of objects that are none of the experiment's; by its first revision.
    Other(u64),
}

/// A transaction as the store tells it.
#[derive(Clone, Debug)]
pub struct Txn {
    /// Its first revision.
    pub first: u64,
    /// Who made it.
    pub maker: Maker,
    /// The changes in their order: revision, name, and the state after; none for a deletion.
    pub changes: Vec<(u64, String, Option<State>)>,
}

/// Everything that is known of one experiment.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The objects before.
    pub start: Objects,
    /// The newest revision before.
    pub start_revision: u64,
    /// The transactions in the order of the store.
    pub txns: Vec<Txn>,
    /// The runs, by number.
    pub runs: BTreeMap<u64, Run>,
    /// What the clients did.
    pub deeds: Vec<Deed>,
    /// Controllers that worked twice at once on one object, with the object.
    pub met: Vec<(String, String)>,
    /// Transactions, by first revision, that were not seen before the host was killed: they may have been refused, because
    /// the disk failed, and be there all the same.
    pub late: BTreeSet<u64>,
    /// Whether the host said in the end that nobody has anything left to do.
    pub at_rest: bool,
    /// The objects afterwards, as the store has them; after it was opened again, where it is on disk.
    pub end: Objects,
}
