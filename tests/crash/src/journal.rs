//! What clients write down: one line for each thing, appended to a file of the client's own before it goes on.
//!
//! Fields are separated by spaces and never empty (`-` stands for nothing), so that a journal is read by people, too. The
//! same types are written and read back.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::str::{FromStr, SplitWhitespace};
use std::sync::Arc;

use anyhow::{Context, bail};

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal(BufWriter<File>);

impl Journal {
    /// Begins a journal.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let mut options = File::options();
        let file = options.create(true).append(true).open(path);
        Ok(Self(BufWriter::new(file.with_context(|| format!("cannot write {}", path.display()))?)))
    }

    /// Appends a line and hands it to the file at once.
    pub fn note(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        writeln!(self.0, "{line}")?;
        Ok(self.0.flush()?)
    }

    /// Appends a line that may wait for the next ones.
    pub fn note_later(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        Ok(writeln!(self.0, "{line}")?)
    }
}

/// Reads all lines of a journal.
pub fn read<T: FromStr<Err = anyhow::Error>>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = BufReader::new(file).lines().enumerate();
    let read = lines
        .map(|(at, line)| line?.parse().with_context(|| format!("{}:{}", path.display(), at + 1)));
    read.collect()
}

/// What a writer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// POST.
    Create,
    /// PUT of an object that was read at a revision.
    Update(u64),
    /// PATCH without a precondition.
    Patch,
    /// DELETE.
    Delete,
    /// GET.
    Read,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged: the revision of the object (0 for a deletion, whose answer has none), and its uid.
    Done {
        /// The revision.
        revision: u64,
        /// The uid of the object.
        uid: Text,
        /// What a read found.
        value: Text,
    },
    /// It was refused; nothing may have happened.
    Refused(u16),
    /// No answer, or one that promises nothing.
    Unknown,
}

/// A shared text.
pub type Text = Arc<str>;

/// A line of a writer's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A request goes out.
    Asked {
        /// When, in microseconds.
        at: u64,
        /// What for.
        act: Act,
        /// `namespace/name`.
        key: Text,
        /// What the object holds afterwards.
        value: Text,
    },
    /// And this came of it.
    Heard {
        /// When.
        at: u64,
        /// What.
        outcome: Outcome,
    },
}

/// A line of a watcher's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A list at a revision, with so many items, which follow.
    Listed(u64, usize),
    /// An item of a list.
    Item(Item),
    /// The client goes to a revision by its own choice.
    At(u64),
    /// A watch was begun after a revision.
    Begun(u64),
    /// A watch event.
    Event(Kind, Item),
    /// A bookmark.
    Bookmark(u64),
    /// The position is too old: what the host said is the oldest.
    Expired(u64),
    /// The stream was cut, or ended.
    Cut,
}

/// An object as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Its resourceVersion.
    pub revision: u64,
    /// `namespace/name`.
    pub key: Text,
    /// Its uid.
    pub uid: Text,
    /// What it holds.
    pub value: Text,
    /// Its label `team`.
    pub team: Text,
}

/// The type of a watch event, or of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ADDED, created.
    Added,
    /// MODIFIED, updated.
    Modified,
    /// DELETED, deleted.
    Deleted,
}

/// A line of the referee's journal: one change of any resource, in the order of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The transaction's first and last revision.
    pub txn: (u64, u64),
    /// What happened.
    pub kind: Kind,
    /// Which resource.
    pub resource: Text,
    /// How many bytes of the bus it took, which is about what it takes in the history.
    pub bytes: u64,
    /// The object; its revision is the change's.
    pub item: Item,
}

struct Fields<'a>(SplitWhitespace<'a>);

impl Fields<'_> {
    fn text(&mut self) -> anyhow::Result<Text> {
        Ok(self.0.next().context("a field is missing")?.into())
    }

    fn number<T: FromStr>(&mut self) -> anyhow::Result<T> {
        let field = self.0.next().context("a field is missing")?;
        field.parse().ok().with_context(|| format!("{field:?} is no number"))
    }

    fn item(&mut self) -> anyhow::Result<Item> {
        Ok(Item {
            revision: self.number()?,
            key: self.text()?,
            uid: self.text()?,
            value: self.text()?,
            team: self.text()?,
        })
    }
}

/// A field that is never empty.
struct Field<'a>(&'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "-" } else { self.0 })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, value, team) = (Field(&self.uid), Field(&self.value), Field(&self.team));
        write!(f, "{} {} {uid} {value} {team}", self.revision, self.key)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        })
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "ADDED" | "created" => Self::Added,
            "MODIFIED" | "updated" => Self::Modified,
            "DELETED" | "deleted" => Self::Deleted,
            other => bail!("{other:?} is no change"),
        })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { at, act, key, value } => {
                write!(f, "asked {at} {key} {} ", Field(value))?;
                match act {
                    Act::Create => f.write_str("create"),
                    Act::Update(revision) => write!(f, "update {revision}"),
                    Act::Patch => f.write_str("patch"),
                    Act::Delete => f.write_str("delete"),
                    Act::Read => f.write_str("read"),
                }
            }
            Self::Heard { at, outcome: Outcome::Done { revision, uid, value } } => {
                write!(f, "done {at} {revision} {} {}", Field(uid), Field(value))
            }
            Self::Heard { at, outcome: Outcome::Refused(code) } => write!(f, "refused {at} {code}"),
            Self::Heard { at, outcome: Outcome::Unknown } => write!(f, "unknown {at}"),
        }
    }
}

impl FromStr for Said {
    type Err = anyhow::Error;
    fn from_str(line: &str) -> anyhow::Result<Self> {
        let mut fields = Fields(line.split_whitespace());
        let (word, at) = (fields.text()?, fields.number()?);
        let outcome = match &*word {
            "asked" => {
                let (key, value) = (fields.text()?, fields.text()?);
                let act = match &*fields.text()? {
                    "create" => Act::Create,
                    "update" => Act::Update(fields.number()?),
                    "patch" => Act::Patch,
                    "delete" => Act::Delete,
                    "read" => Act::Read,
                    other => bail!("{other:?} is no act"),
                };
                return Ok(Self::Asked { at, act, key, value });
            }
            "done" => {
                let revision = fields.number()?;
                Outcome::Done { revision, uid: fields.text()?, value: fields.text()? }
            }
            "refused" => Outcome::Refused(fields.number()?),
            "unknown" => Outcome::Unknown,
            other => bail!("{other:?} is no line of a writer"),
        };
        Ok(Self::Heard { at, outcome })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(revision, count) => write!(f, "listed {revision} {count}"),
            Self::Item(item) => write!(f, "item {item}"),
            Self::At(revision) => write!(f, "at {revision}"),
            Self::Begun(revision) => write!(f, "begun {revision}"),
            Self::Event(kind, item) => write!(f, "{kind} {item}"),
            Self::Bookmark(revision) => write!(f, "bookmark {revision}"),
            Self::Expired(oldest) => write!(f, "expired {oldest}"),
            Self::Cut => f.write_str("cut"),
        }
    }
}

impl FromStr for Seen {
    type Err = anyhow::Error;
    fn from_str(line: &str) -> anyhow::Result<Self> {
        let mut fields = Fields(line.split_whitespace());
        Ok(match &*fields.text()? {
            "listed" => Self::Listed(fields.number()?, fields.number()?),
            "item" => Self::Item(fields.item()?),
            "at" => Self::At(fields.number()?),
            "begun" => Self::Begun(fields.number()?),
            "bookmark" => Self::Bookmark(fields.number()?),
            "expired" => Self::Expired(fields.number()?),
            "cut" => Self::Cut,
            kind => Self::Event(kind.parse()?, fields.item()?),
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { txn, kind, resource, bytes, item } = self;
        write!(f, "{kind} {resource} {bytes} {} {} {item}", txn.0, txn.1)
    }
}

impl FromStr for Change {
    type Err = anyhow::Error;
    fn from_str(line: &str) -> anyhow::Result<Self> {
        let mut fields = Fields(line.split_whitespace());
        let (kind, resource) = (fields.text()?.parse()?, fields.text()?);
        let bytes = fields.number()?;
        let txn = (fields.number()?, fields.number()?);
        Ok(Self { txn, kind, resource, bytes, item: fields.item()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads_back<T: FromStr<Err = anyhow::Error> + fmt::Display>(line: &str) {
        let read = line.parse::<T>().expect("a line");
        assert_eq!(read.to_string(), line);
    }

    #[test]
    fn what_is_written_reads_back() {
        let said = ["asked 5 a/b w1-2 update 7", "done 9 8 uid -", "refused 3 409", "unknown 4"];
        said.into_iter().for_each(reads_back::<Said>);
        let seen =
            ["listed 5 1", "item 4 a/b uid w1-2 red", "begun 5", "at 3", "MODIFIED 6 a/b uid - -"];
        seen.into_iter().for_each(reads_back::<Seen>);
        ["bookmark 7", "expired 9", "cut"].into_iter().for_each(reads_back::<Seen>);
        reads_back::<Change>("DELETED configmaps 900 3 4 4 a/b uid w1-2 blue");
        assert!("MODIFIED 6 a/b".parse::<Seen>().is_err());
    }
}
