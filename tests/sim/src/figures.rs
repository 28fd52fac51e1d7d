//! What there was in seeds, counted and added up.

/// What there was of it, to be added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Seeds.
    pub seeds: u64,
    /// Seeds of which nothing can be said, because their history was too short for the witness.
    pub unseen: u64,
    /// Lives.
    pub lives: u64,
    /// Kills.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Calls of the disk that failed because that was planned.
    pub faults: u64,
    /// Openings that failed because of trouble, and were tried again.
    pub openings: u64,
    /// Changes committed.
    pub changes: usize,
    /// Runs begun.
    pub runs: u64,
    /// Writes and looks that clients noted.
    pub deeds: usize,
    /// Changes that watchers were told of.
    pub events: usize,
    /// Times that a watcher began to read.
    pub resumes: u64,
    /// Times that a watcher found its place gone, rightly.
    pub relists: u64,
    /// Snapshots compared with everything.
    pub looks: usize,
    /// Hours in which nothing happened.
    pub quiet_hours: u64,
}

impl Figures {
    /// Adds those of another seed.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.unseen += other.unseen;
        self.lives += other.lives;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.faults += other.faults;
        self.openings += other.openings;
        self.changes += other.changes;
        self.runs += other.runs;
        self.deeds += other.deeds;
        self.events += other.events;
        self.resumes += other.resumes;
        self.relists += other.relists;
        self.looks += other.looks;
        self.quiet_hours += other.quiet_hours;
    }
}
