//! The simulated disk as one boot of the machine sees it: the store's `Disk` and `DiskFile`. Every call asks first how it
//! is to go.

use std::io;
use std::sync::Arc;

use quadrille_store::{Disk, DiskFile};

use super::SimDisk;
use super::inside::{Act, FileOp, Inside, NameOp, SimFile, Verdict};
use crate::image::SECTOR_BYTES;

/// The disk of one boot.
#[derive(Debug)]
pub(super) struct Booted {
    pub(super) disk: SimDisk,
    pub(super) boot: u64,
}

impl Booted {
    fn opened(&self, file: u64) -> Arc<dyn DiskFile> {
        Arc::new(OpenFile { disk: self.disk.clone(), boot: self.boot, file })
    }

    /// A call that changes names.
    fn change(&self, ops: impl FnOnce(&mut Inside) -> io::Result<Vec<NameOp>>) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let verdict = inside.call(self.boot, Act::Write)?;
        if let Verdict::Fails(error) = verdict {
            return Err(error);
        }
        let ops = ops(&mut inside)?;
        for op in &ops {
            op.clone().apply(&mut inside.names);
        }
        inside.pending_names.extend(ops);
        if matches!(verdict, Verdict::PowerGoes) {
            inside.cut_power();
            return Err(io::Error::other("the power went"));
        }
        Ok(())
    }

    fn look<T>(&self, work: impl FnOnce(&Inside) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.disk.lock();
        match inside.call(self.boot, Act::Look)? {
            Verdict::Well => work(&inside),
            Verdict::Fails(error) => Err(error),
            Verdict::PowerGoes => {
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }
}

impl Disk for Booted {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.look(|inside| {
            let file = inside.names.get(name).and_then(|file| inside.files.get(file));
            Ok(file.map(|file| file.seen.length()))
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let file = self.look(|inside| inside.names.get(name).copied().ok_or_else(missing))?;
        Ok(self.opened(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut made = 0;
        self.change(|inside| {
            made = inside.next_file;
            inside.next_file += 1;
            inside.files.insert(made, SimFile::default());
            Ok(vec![NameOp::Is(name.to_owned(), made)])
        })?;
        Ok(self.opened(made))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|inside| {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            let file = inside.names.get(from).copied().ok_or_else(missing)?;
            Ok(vec![NameOp::Is(to.to_owned(), file), NameOp::IsNot(from.to_owned())])
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inside = self.disk.lock();
        match inside.call(self.boot, Act::Flush)? {
            Verdict::Well => {
                for op in std::mem::take(&mut inside.pending_names) {
                    op.apply(&mut inside.durable_names);
                }
                Ok(())
            }
            Verdict::Fails(error) => Err(error),
            Verdict::PowerGoes => {
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: SimDisk,
    boot: u64,
    file: u64,
}

impl OpenFile {
    /// A call that writes `work`; in part when it fails so.
    fn write(&self, work: impl FnOnce(&mut SimFile, bool)) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let verdict = inside.call(self.boot, Act::Write)?;
        let file = inside.file(self.file)?;
        match verdict {
            Verdict::Well => {
                work(file, false);
                Ok(())
            }
            Verdict::Fails(error) => {
                work(file, true);
                Err(error)
            }
            Verdict::PowerGoes => {
                work(file, false);
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }

    fn look<T>(&self, work: impl FnOnce(&SimFile) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.disk.lock();
        match inside.call(self.boot, Act::Look)? {
            Verdict::Well => work(inside.file(self.file)?),
            Verdict::Fails(error) => Err(error),
            Verdict::PowerGoes => {
                inside.cut_power();
                Err(io::Error::other("the power went"))
            }
        }
    }
}

impl DiskFile for OpenFile {
    fn length(&self) -> io::Result<u64> {
        self.look(|file| Ok(file.seen.length()))
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.look(|file| file.seen.read(at, out))
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|file, in_part| {
            let sectors = bytes.len() / SECTOR_BYTES / 2 * SECTOR_BYTES;
            let through = if in_part { &bytes[..sectors] } else { bytes };
            if !through.is_empty() {
                file.write(at, through);
            }
        })
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.write(|file, in_part| {
            if !in_part && length != file.seen.length() {
                file.seen.set_length(length);
                file.pending.push(FileOp::Length(length));
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut inside = self.disk.lock();
        let verdict = inside.call(self.boot, Act::Flush)?;
        inside.flush(self.file, verdict)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut inside = self.disk.lock();
        let boot = self.boot;
        Ok(*inside.locked.entry(self.file).or_insert(boot) == boot)
    }
}
