//! The journal on a disk: what is kept, dropped, cut and found again.

use std::path::Path;

use quadrille_kit::{ManualClock, SystemClock};
use tempfile::TempDir;

use super::*;

#[derive(Clone, Debug)]
struct Note {
    number: u64,
    object: &'static str,
    text: String,
}

impl JournalEntry for Note {
    fn number(&self) -> u64 {
        self.number
    }

    fn at(&self) -> Timestamp {
        Timestamp(i64::try_from(self.number).expect("a small number"))
    }

    fn tags(&self) -> Tags {
        Tags { object: Tag::of(self.object), plugin: Tag::of("plugin") }
    }

    fn weight(&self) -> usize {
        self.text.len()
    }

    fn shared(&self) -> Vec<Piece> {
        vec![Piece::new(Bytes::from_static(b"what all have in common"))]
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
    }
}

fn note(number: u64, object: &'static str) -> Arc<dyn JournalEntry> {
    Arc::new(Note { number, object, text: format!("{object} {number}") })
}

async fn open(config: JournalConfig) -> Journal {
    let clock = Arc::new(SystemClock::default());
    Journal::open(config, clock, &Supervisor::default()).await.expect("the journal opens")
}

fn on_disk(dir: &Path) -> JournalConfig {
    // What the notes say of their time is long ago.
    let age_max = Duration::from_hours(24 * 365 * 1000);
    JournalConfig { dir: Some(dir.to_owned()), age_max, ..JournalConfig::default() }
}

async fn numbers(journal: &Journal, query: JournalQuery) -> Vec<u64> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = journal.newest(query, from, 3).await.expect("it can be read");
        found.extend(page.records.iter().map(|record| record.number));
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

/// The one segment of a journal, after its writer has ended.
async fn segment(dir: &TempDir, notes: u64) -> PathBuf {
    let journal = open(on_disk(dir.path())).await;
    for number in 1..=notes {
        journal.append(note(number, if number % 2 == 0 { "even" } else { "odd" }));
    }
    journal.flush().await;
    assert_eq!(journal.size().records, notes);
    let mut files = std::fs::read_dir(dir.path()).expect("a directory");
    files.next().expect("a segment").expect("a segment").path()
}

#[tokio::test]
async fn entries_are_found_by_number_object_and_plugin_after_reopening() {
    let dir = TempDir::new().expect("a directory");
    segment(&dir, 10).await;
    for journal in [open(on_disk(dir.path())).await, {
        let journal = open(JournalConfig::default()).await;
        (1..=10).for_each(|n| journal.append(note(n, if n % 2 == 0 { "even" } else { "odd" })));
        journal
    }] {
        let found = journal.read(7).await.expect("it can be read").expect("it is there");
        assert_eq!((found.body, found.at), (Bytes::from_static(b"odd 7"), Timestamp(7)));
        assert_eq!(found.shared, [Bytes::from_static(b"what all have in common")]);
        let odd = numbers(&journal, JournalQuery::Object(Tag::of("odd"))).await;
        assert_eq!(odd, [9, 7, 5, 3, 1]);
        let all = numbers(&journal, JournalQuery::Plugin(Tag::of("plugin"))).await;
        assert_eq!(all, numbers(&journal, JournalQuery::All).await);
        assert_eq!(all.len(), 10);
        assert!(numbers(&journal, JournalQuery::Object(Tag::of("none"))).await.is_empty());
        assert_eq!(journal.read(11).await.expect("it can be read"), None);
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_wherever_it_was_torn() {
    let dir = TempDir::new().expect("a directory");
    let path = segment(&dir, 4).await;
    let whole = std::fs::read(&path).expect("a segment");
    let last = whole.windows(6).rposition(|text| text == b"even 4").expect("the last entry") + 6;
    assert_eq!(last, whole.len());
    for cut in 1..=30 {
        std::fs::write(&path, &whole[..whole.len() - cut]).expect("written");
        let journal = open(on_disk(dir.path())).await;
        assert_eq!(numbers(&journal, JournalQuery::All).await, [3, 2, 1], "cut by {cut}");
        journal.append(note(5, "odd"));
        journal.flush().await;
        drop(journal);
        let journal = open(on_disk(dir.path())).await;
        assert_eq!(numbers(&journal, JournalQuery::All).await, [5, 3, 2, 1], "cut by {cut}");
    }
}

#[tokio::test]
async fn a_flipped_bit_takes_one_entry_and_is_never_served() {
    let dir = TempDir::new().expect("a directory");
    let path = segment(&dir, 4).await;
    let whole = std::fs::read(&path).expect("a segment");
    let at = whole.windows(6).position(|text| text == b"even 2").expect("an entry");
    let mut bad = whole.clone();
    bad[at] ^= 0x20;
    // Damaged while it is open: the entry is an error, the others are there.
    let journal = open(on_disk(dir.path())).await;
    std::fs::write(&path, &bad).expect("written");
    assert!(matches!(journal.read(2).await, Err(JournalError::Damaged { number: 2 })));
    assert_eq!(numbers(&journal, JournalQuery::All).await, [4, 3, 1]);
    // Damaged before it is opened: it is not there.
    drop(journal);
    let journal = open(on_disk(dir.path())).await;
    assert_eq!(numbers(&journal, JournalQuery::All).await, [4, 3, 1]);
    assert_eq!(journal.size().damaged, 1);
}

#[tokio::test]
async fn a_bit_flip_anywhere_serves_what_was_written_or_nothing() {
    let dir = TempDir::new().expect("a directory");
    let path = segment(&dir, 3).await;
    let whole = std::fs::read(&path).expect("a segment");
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).expect("written");
        let Ok(book) = Book::open(on_disk(dir.path()), Duration::ZERO) else { continue };
        let clock = Arc::new(ManualClock::default());
        let inner = Inner::new(book, Queue::new(1), clock, false);
        for record in inner.newest(JournalQuery::All, None, 10).expect("it can be read").records {
            let object = if record.number % 2 == 0 { "even" } else { "odd" };
            assert_eq!(record.body, format!("{object} {}", record.number).into_bytes());
        }
    }
}

#[tokio::test]
async fn beyond_the_budget_the_oldest_segment_goes_as_a_whole() {
    for dir in [None, Some(TempDir::new().expect("a directory"))] {
        let path = dir.as_ref().map(|dir| dir.path().to_owned());
        let config = JournalConfig {
            bytes_max: 3_000,
            segment_bytes: 1_000,
            dir: path,
            ..on_disk(Path::new(""))
        };
        let journal = open(config).await;
        for number in 1..=200 {
            journal.append(note(number, "one"));
            if number % 5 == 0 {
                journal.flush().await;
            }
        }
        let kept = numbers(&journal, JournalQuery::Object(Tag::of("one"))).await;
        assert!(kept.len() > 20 && kept.len() < 60, "{kept:?}");
        let newest: Vec<u64> = (0..kept.len() as u64).map(|back| 200 - back).collect();
        assert_eq!(kept, newest);
        assert!(journal.size().bytes <= 4_100, "{:?}", journal.size());
        assert_eq!(journal.read(1).await.expect("it can be read"), None);
        if let Some(dir) = dir {
            assert!(std::fs::read_dir(dir.path()).expect("a directory").count() <= 4);
        }
    }
}

#[tokio::test]
async fn old_entries_go_by_age() {
    let dir = TempDir::new().expect("a directory");
    let config = JournalConfig {
        segment_bytes: 100,
        age_max: Duration::from_secs(4),
        ..on_disk(dir.path())
    };
    let mut book = Book::open(config, Duration::ZERO).expect("it opens");
    for number in 1..=10 {
        book.append(&[note(number, "one")], Duration::from_secs(number)).expect("written");
    }
    let (kept, _) = book.newest(JournalQuery::All, None, 100);
    assert!(kept.iter().all(|entry| entry.number > 4), "{kept:?}");
    assert!((4..=6).contains(&kept.len()), "{kept:?}");
}

/// A clock that somebody sets.
#[derive(Debug, Default)]
struct SetClock {
    now: std::sync::atomic::AtomicI64,
    steady: ManualClock,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.steady.monotonic()
    }

    fn sleep(&self, wait: Duration) -> quadrille_kit::clock::BoxFuture<'static, ()> {
        self.steady.sleep(wait)
    }
}

#[tokio::test]
async fn a_clock_that_jumps_takes_no_entry_away() {
    let dir = TempDir::new().expect("a directory");
    let clock = Arc::new(SetClock::default());
    let config = JournalConfig {
        segment_bytes: 1_000,
        age_max: Duration::from_hours(24),
        ..on_disk(dir.path())
    };
    for years in [0, 1, 50] {
        let micros = years * 365 * 24 * 3_600 * 1_000_000;
        clock.now.store(micros, std::sync::atomic::Ordering::SeqCst);
        let (clock, supervisor) = (Arc::clone(&clock), Supervisor::default());
        let journal = Journal::open(config.clone(), clock, &supervisor).await.expect("it opens");
        let first = journal.last_number() + 1;
        for number in first..first + 50 {
            journal.append(note(number, "one"));
            if number % 10 == 0 {
                journal.flush().await;
            }
        }
        assert_eq!(journal.size().records, first + 49, "after {years} years");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_length_takes_one_entry_in_any_segment() {
    let dir = TempDir::new().expect("a directory");
    let config = JournalConfig { segment_bytes: 1_000, ..on_disk(dir.path()) };
    let journal = open(config.clone()).await;
    for number in 1..=50 {
        journal.append(note(number, "one"));
        if number % 10 == 0 {
            journal.flush().await;
        }
    }
    drop(journal);
    let segments = segment::list(dir.path()).expect("readable");
    assert!(segments.len() > 2, "{segments:?}");
    for (lost, (_, path)) in (1..).zip([&segments[0], &segments[segments.len() - 1]]) {
        let mut bytes = std::fs::read(path).expect("a segment");
        // The length of the first entry's frame: behind the beginning and the piece that all share.
        let text = bytes.windows(4).position(|text| text == b"one ").expect("an entry");
        let head = frame::HEADER_BYTES + 1 + 8 * 4 + 1 + 16;
        bytes[text - head] ^= 0x40;
        std::fs::write(path, &bytes).expect("written");
        let journal = open(config.clone()).await;
        assert_eq!(journal.size().records, 50 - lost, "{path:?}");
        assert_eq!(journal.size().damaged, lost);
        drop(journal);
        assert_eq!(std::fs::read(path).expect("a segment"), bytes, "nothing is cut off");
    }
}

#[tokio::test]
async fn a_segment_that_is_not_the_last_is_never_cut() {
    let dir = TempDir::new().expect("a directory");
    let path = segment(&dir, 4).await;
    let whole = std::fs::read(&path).expect("a segment");
    let bad = [&whole[..whole.len() - 10], &[7; 10]].concat();
    std::fs::write(&path, &bad).expect("written");
    let mut next = Vec::new();
    frame::push(&mut next, frame::Place { segment: 2, offset: 0 }, |out| frame::begin(out, 2));
    std::fs::write(dir.path().join(format!("{:016x}.runs", 2)), next).expect("written");
    let journal = open(on_disk(dir.path())).await;
    assert_eq!(numbers(&journal, JournalQuery::All).await, [3, 2, 1]);
    assert_eq!(std::fs::read(&path).expect("a segment"), bad);
}

#[tokio::test]
async fn what_the_disk_cannot_take_is_dropped_and_counted() {
    let dir = TempDir::new().expect("a directory");
    let config = JournalConfig { queue_bytes_max: 100, ..on_disk(dir.path()) };
    let journal = open(config).await;
    let many = 50_000;
    for number in 1..=many {
        journal.append(note(number, "one"));
    }
    journal.flush().await;
    let size = journal.size();
    assert!(size.dropped > 0, "{size:?}");
    assert_eq!(size.records + size.dropped, many);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = TempDir::new().expect("a directory");
    let mut bytes = Vec::new();
    frame::push(&mut bytes, frame::Place { segment: 1, offset: 0 }, |out| {
        frame::begin(out, 1);
        out[frame::HEADER_BYTES + 1] = 9;
    });
    std::fs::write(dir.path().join(format!("{:016x}.runs", 1)), bytes).expect("written");
    let clock = Arc::new(SystemClock::default());
    let opened = Journal::open(on_disk(dir.path()), clock, &Supervisor::default()).await;
    assert!(matches!(opened, Err(JournalError::Newer { found: 9, .. })));
}
