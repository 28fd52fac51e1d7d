//! What one call into a guest may use at most, and the meter that counts it.
//!
//! Every ceiling of a call is set here and nowhere else: memory, tables, CPU time, host calls, bytes, log lines.
//! A ceiling that is met is remembered by name, so that the failure says what was hit instead of `unreachable`.
//!
//! CPU time is looked at whenever the epoch moves while a guest runs, and counted by the thread's own clock: a host call
//! or a bulk instruction that goes on over many epochs costs what it takes, and a machine that is busy with something
//! else costs a guest nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use wasmtime::{ResourceLimiter, Result, Store, UpdateDeadline, bail};

/// How often the epoch moves: the grain of CPU time, and how long a guest runs before others get their turn.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Ceilings of one call into a guest.
#[expect(clippy::struct_field_names, reason = "a ceiling is named so, with its unit")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CallLimits {
    /// Linear memory in all, in bytes. Default 64 MiB; at most the engine's slot of 256 MiB.
    pub memory_bytes_max: usize,
    /// Elements of one table. Default 50,000.
    pub table_elements_max: usize,
    /// Core instances, memories and tables. Default 200, 32 and 64: what JavaScript and Python guests need.
    pub instances_max: usize,
    /// Memories. Default 32.
    pub memories_max: usize,
    /// Tables. Default 64.
    pub tables_max: usize,
    /// CPU time, in steps of [`EPOCH_TICK`]. Default 1 s.
    pub cpu_max: Duration,
    /// Time on the wall, waiting included. Default 30 s.
    pub wall_max: Duration,
    /// Calls to host functions. Default 100,000.
    pub host_calls_max: u64,
    /// Bytes that host calls take and give, in all. Default 64 MiB.
    pub host_bytes_max: u64,
    /// Log lines that are kept; what is over is dropped and counted. Default 200.
    pub log_lines_max: u64,
    /// Bytes of log that are kept. Default 64 KiB.
    pub log_bytes_max: u64,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_elements_max: 50_000,
            instances_max: 200,
            memories_max: 32,
            tables_max: 64,
            cpu_max: Duration::from_secs(1),
            wall_max: Duration::from_secs(30),
            host_calls_max: 100_000,
            host_bytes_max: 64 << 20,
            log_lines_max: 200,
            log_bytes_max: 64 << 10,
        }
    }
}

/// A ceiling that was met, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitHit {
    /// Linear memory.
    Memory {
        /// The ceiling in bytes.
        max: usize,
        /// What was asked for.
        asked: usize,
    },
    /// A table.
    Table {
        /// The ceiling in elements.
        max: usize,
        /// What was asked for.
        asked: usize,
    },
    /// CPU time.
    Cpu(Duration),
    /// Time on the wall.
    Wall(Duration),
    /// The number of host calls.
    HostCalls(u64),
    /// The bytes of host calls.
    HostBytes(u64),
    /// A limit of the run's view: objects or bytes read, writes or bytes written.
    View(String),
}

impl LimitHit {
    /// Whether it was time that ran out.
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::Cpu(_) | Self::Wall(_))
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { max, asked } => {
                write!(f, "hit its {} memory limit (asked for {})", Bytes(*max), Bytes(*asked))
            }
            Self::Table { max, asked } => {
                write!(f, "hit its limit of {max} table elements (asked for {asked})")
            }
            Self::Cpu(max) => write!(f, "hit its CPU limit of {} ms", max.as_millis()),
            Self::Wall(max) => write!(f, "hit its deadline of {} ms", max.as_millis()),
            Self::HostCalls(max) => write!(f, "hit its limit of {max} host calls"),
            Self::HostBytes(max) => {
                let max = usize::try_from(*max).unwrap_or(usize::MAX);
                write!(f, "hit its limit of {} through host calls", Bytes(max))
            }
            Self::View(message) => f.write_str(message),
        }
    }
}

/// A size for people: `64 MiB`, or bytes where it is not a round number.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 => write!(f, "{} MiB", n.div_ceil(1 << 20)),
            n if n >= 1 << 10 => write!(f, "{} KiB", n.div_ceil(1 << 10)),
            n => write!(f, "{n} bytes"),
        }
    }
}

/// How far over the ceiling of host calls a guest may go on asking before it is stopped.
const HOST_CALLS_SLACK: u64 = 1_000;
/// The same for bytes: one more call of the largest kind.
const HOST_BYTES_SLACK: u64 = 8 << 20;

/// What a call has used so far.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Arc<CallLimits>,
    memory_bytes: usize,
    cpu_used: Duration,
    /// The thread's clock when the guest went on after the last tick; `None` before the first.
    resumed: Option<Arc<AtomicU64>>,
    host_calls: u64,
    host_bytes: u64,
    hit: Option<LimitHit>,
}

impl Meter {
    pub(crate) fn new(limits: Arc<CallLimits>) -> Self {
        Self {
            limits,
            memory_bytes: 0,
            cpu_used: Duration::ZERO,
            resumed: None,
            host_calls: 0,
            host_bytes: 0,
            hit: None,
        }
    }

    pub(crate) fn limits(&self) -> &CallLimits {
        &self.limits
    }

    /// The guest's linear memory, in bytes; it never shrinks.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes as u64
    }

    /// The first ceiling that was met.
    pub(crate) fn hit(&self) -> Option<&LimitHit> {
        self.hit.as_ref()
    }

    pub(crate) fn take_hit(&mut self) -> Option<LimitHit> {
        self.hit.take()
    }

    pub(crate) fn note(&mut self, hit: LimitHit) {
        self.hit.get_or_insert(hit);
    }

    /// Counts one host call with what it carries.
    ///
    /// Within the ceiling, `Ok(None)`; over it, the ceiling, which the host function answers with; far over it,
    /// an error that stops the guest.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<Option<LimitHit>> {
        self.host_calls = self.host_calls.saturating_add(1);
        self.charge_bytes(bytes);
        if self.host_calls > self.limits.host_calls_max {
            self.note(LimitHit::HostCalls(self.limits.host_calls_max));
        }
        if self.host_calls > self.limits.host_calls_max.saturating_add(HOST_CALLS_SLACK)
            || self.host_bytes > self.limits.host_bytes_max.saturating_add(HOST_BYTES_SLACK)
        {
            bail!("host calls go on after their limit");
        }
        Ok(self.hit.clone())
    }

    /// Counts bytes that an answer carries.
    pub(crate) fn charge_bytes(&mut self, bytes: usize) {
        self.host_bytes = self.host_bytes.saturating_add(bytes as u64);
        if self.host_bytes > self.limits.host_bytes_max {
            self.note(LimitHit::HostBytes(self.limits.host_bytes_max));
        }
    }

    /// The epoch moved while the guest was running.
    fn tick(&mut self) -> Result<UpdateDeadline> {
        // Before the first tick nobody looked at the clock, so that short runs pay nothing for it.
        let resumed =
            self.resumed.as_ref().map(|at| Duration::from_nanos(at.load(Ordering::Relaxed)));
        let used = resumed.map_or(EPOCH_TICK, |at| thread_time().saturating_sub(at));
        self.cpu_used = self.cpu_used.saturating_add(used);
        if self.cpu_used > self.limits.cpu_max {
            self.note(LimitHit::Cpu(self.limits.cpu_max));
            bail!("CPU time is used up");
        }
        let resumed = Arc::clone(self.resumed.get_or_insert_default());
        Ok(UpdateDeadline::YieldCustom(1, make_way(resumed)))
    }
}

/// Lets other tasks run once, and notes when the guest goes on.
fn make_way(resumed: Arc<AtomicU64>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut waited = false;
    Box::pin(std::future::poll_fn(move |context| {
        if !std::mem::replace(&mut waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let now = u64::try_from(thread_time().as_nanos()).unwrap_or(u64::MAX);
        resumed.store(now, Ordering::Relaxed);
        Poll::Ready(())
    }))
}

/// Processor time of this thread: the machine's by design, like the epoch.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, now: usize, asked: usize, _max: Option<usize>) -> Result<bool> {
        let total = self.memory_bytes.saturating_sub(now).saturating_add(asked);
        if total > self.limits.memory_bytes_max {
            self.note(LimitHit::Memory { max: self.limits.memory_bytes_max, asked: total });
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _now: usize, asked: usize, _max: Option<usize>) -> Result<bool> {
        let max = self.limits.table_elements_max;
        if asked > max {
            self.note(LimitHit::Table { max, asked });
        }
        Ok(asked <= max)
    }

    fn instances(&self) -> usize {
        self.limits.instances_max
    }

    fn tables(&self) -> usize {
        self.limits.tables_max
    }

    fn memories(&self) -> usize {
        self.limits.memories_max
    }
}

/// Puts every ceiling of a call in place. It comes before instantiation: a start function runs there.
pub(crate) fn arm<T: Send + 'static>(
    store: &mut Store<T>,
    fuel: usize,
    meter: impl Fn(&mut T) -> &mut Meter + Send + Sync + Copy + 'static,
) {
    store.limiter(move |data| meter(data));
    store.set_hostcall_fuel(fuel);
    store.epoch_deadline_callback(move |mut ctx| meter(ctx.data_mut()).tick());
    store.set_epoch_deadline(1);
}
