//! The access log: one line per request, by a writer that never slows the path.
//!
//! A line is written into a buffer of the core that served the request and shipped to one writer
//! thread in batches; what the thread cannot take is dropped and counted. Never a query, token,
//! cookie, password or body: [`Entry`] has no place for them.

mod line;
mod stamp;

use std::cell::RefCell;
use std::io;
use std::io::Write;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use http::Method;
use http::StatusCode;

use crate::config::LogFormat;
use crate::telemetry::access::stamp::Stamp;
use crate::telemetry::is_for_people;
use crate::telemetry::metrics::Metrics;

/// What was decided about a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// `allow`, `vouch` (for a request that is only asked about), `own` (an endpoint of ours),
    /// `preflight`, `unauthenticated`, `forbidden`, `limited`, `refused` (malformed), `not_found`,
    /// `unavailable`, `upstream_failed`, `client_gone`.
    pub verdict: &'static str,
    /// The `code` of the refusal, or of the finer reason; empty when allowed.
    pub reason: &'static str,
}

/// One answered request.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When the answer was complete.
    pub time: SystemTime,
    /// 32 hexadecimal digits.
    pub request_id: &'a str,
    /// The address held responsible.
    pub source: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The host, as sent.
    pub host: &'a str,
    /// The path without its query, as sent; may hold any visible byte and is escaped here.
    pub path: &'a str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: http::Version,
    /// The route's name, or empty.
    pub route: &'a str,
    /// The `sub`.
    pub user: Option<&'a str>,
    /// The `sid`.
    pub session: Option<&'a str>,
    /// What was decided.
    pub decision: Decision,
    /// The answer's status.
    pub status: StatusCode,
    /// From the request's header to the answer's last byte.
    pub duration: Duration,
    /// From sending to the upstream to its response header.
    pub upstream: Option<Duration>,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// Starts the writer thread and hands out the ends of the cores. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    batches: SyncSender<Batch>,
    format: LogFormat,
    metrics: Arc<Metrics>,
}

/// The writer thread, to be waited for.
#[derive(Debug)]
pub struct Writer {
    written: Receiver<()>,
}

/// A core ships its buffer when it holds so much.
const BATCH_BYTES: usize = 64 * 1024;

/// How many batches may wait for the writer: 4 MiB in all.
const BATCHES_MAX: usize = 64;

/// How long [`Writer::finish`] waits for a standard output that nobody reads.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

impl AccessLog {
    /// Writes to standard output: human on a terminal, JSON elsewhere, or as configured.
    ///
    /// # Errors
    ///
    /// The system's, when it has no thread left.
    pub fn start(format: LogFormat, metrics: Arc<Metrics>) -> io::Result<(Self, Writer)> {
        let format = if is_for_people(format, &io::stdout()) {
            LogFormat::Human
        } else {
            LogFormat::Json
        };
        Self::start_with(Box::new(io::stdout()), format, metrics)
    }

    /// Writes to `sink`, which is taken for no terminal: [`LogFormat::Auto`] means JSON.
    ///
    /// # Errors
    ///
    /// The system's, when it has no thread left.
    pub fn start_with(
        sink: Box<dyn Write + Send>,
        format: LogFormat,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, Writer)> {
        let (batches, arriving) = mpsc::sync_channel(BATCHES_MAX);
        let (ended, written) = mpsc::channel();
        let writer_metrics = Arc::clone(&metrics);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write_all(sink, &arriving, &writer_metrics);
                drop(ended);
            })?;
        let log = Self {
            batches,
            format,
            metrics,
        };
        Ok((log, Writer { written }))
    }

    /// A writer for one core. `!Sync`; cheap.
    pub fn local(&self) -> LocalLog {
        LocalLog {
            batches: self.batches.clone(),
            pending: RefCell::default(),
            format: self.format,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl Writer {
    /// Waits until everything handed over is written, or for 5 s; called after the cores have
    /// stopped and every [`AccessLog`] and [`LocalLog`] is gone.
    pub fn finish(self) {
        // The thread sends nothing: that its end of the channel is gone means that it is done.
        let _ = self.written.recv_timeout(FINISH_TIMEOUT);
    }
}

/// Goes on when nobody reads any more: the gateway outlives the reader of its log.
fn write_all(mut sink: Box<dyn Write + Send>, batches: &Receiver<Batch>, metrics: &Metrics) {
    let mut failing = false;
    for batch in batches {
        let written = sink.write_all(&batch.bytes).and_then(|()| sink.flush());
        if let Err(error) = &written {
            metrics.log_lines_dropped(batch.lines);
            if !failing {
                tracing::error!(%error, "the access log cannot be written");
            }
        }
        failing = written.is_err();
    }
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

/// One core's end.
#[derive(Debug)]
pub struct LocalLog {
    batches: SyncSender<Batch>,
    pending: RefCell<Pending>,
    format: LogFormat,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    stamp: Stamp,
}

impl LocalLog {
    /// Formats into the reused buffer; ships it when it is large.
    pub fn write(&self, entry: &Entry<'_>) {
        let mut pending = self.pending.borrow_mut();
        let Pending { batch, stamp } = &mut *pending;
        let time = stamp.text(entry.time);
        match self.format {
            LogFormat::Human => line::human(&mut batch.bytes, time, entry),
            LogFormat::Auto | LogFormat::Json => line::json(&mut batch.bytes, time, entry),
        }
        batch.lines += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            self.ship(batch);
        }
    }

    /// Ships what there is; the core calls this every 100 ms. Dropping ships as well.
    pub fn flush(&self) {
        let mut pending = self.pending.borrow_mut();
        if pending.batch.lines > 0 {
            self.ship(&mut pending.batch);
        }
    }

    /// A writer that cannot keep up costs lines, never time.
    fn ship(&self, batch: &mut Batch) {
        let full = mem::replace(batch, Batch::with_room());
        if let Err(refused) = self.batches.try_send(full) {
            let (mpsc::TrySendError::Full(lost) | mpsc::TrySendError::Disconnected(lost)) = refused;
            self.metrics.log_lines_dropped(lost.lines);
        }
    }
}

impl Drop for LocalLog {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Batch {
    /// A batch is shipped by the line that fills it, which is seldom longer than 1 KiB.
    fn with_room() -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH_BYTES + 1024),
            lines: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what is written; while its lock is held, writing waits.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that has gone away.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn entry() -> Entry<'static> {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            request_id: "0123456789abcdef0123456789abcdef",
            source: None,
            method: &Method::GET,
            host: "localhost",
            path: "/notes",
            protocol: http::Version::HTTP_11,
            route: "notes",
            user: None,
            session: None,
            decision: Decision {
                verdict: "allow",
                reason: "",
            },
            status: StatusCode::OK,
            duration: Duration::ZERO,
            upstream: None,
            bytes: 0,
        }
    }

    fn dropped(metrics: &Metrics) -> u64 {
        let text = metrics.encode();
        let name = "portcullis_log_lines_dropped_total ";
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().parse().unwrap()
    }

    // SECURITY 58
    #[test]
    fn every_request_is_one_line_from_whichever_core() {
        let metrics = Metrics::new();
        let kept = Kept::default();
        let (log, writer) = AccessLog::start_with(
            Box::new(kept.clone()),
            LogFormat::Json,
            Arc::clone(&metrics),
        )
        .unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                let local = log.local();
                scope.spawn(move || {
                    for _ in 0..500 {
                        local.write(&entry());
                    }
                });
            }
        });
        drop(log);
        writer.finish();

        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2000);
        for line in text.lines() {
            assert!(
                serde_json::from_str::<serde_json::Value>(line).is_ok(),
                "{line}"
            );
        }
        assert_eq!(dropped(&metrics), 0);
    }

    #[test]
    fn a_writer_that_cannot_keep_up_costs_lines_that_are_counted() {
        let metrics = Metrics::new();
        let kept = Kept::default();
        let (log, writer) = AccessLog::start_with(
            Box::new(kept.clone()),
            LogFormat::Json,
            Arc::clone(&metrics),
        )
        .unwrap();
        let local = log.local();
        let stuck = kept.0.lock().unwrap();
        let batches = BATCHES_MAX as u64 + 10;
        for _ in 0..batches {
            local.write(&entry());
            local.flush();
        }
        drop(stuck);
        drop(local);
        drop(log);
        writer.finish();

        let lost = dropped(&metrics);
        let written = String::from_utf8(kept.0.lock().unwrap().clone())
            .unwrap()
            .lines()
            .count() as u64;
        // The writer itself holds one batch more than the queue.
        assert!((9..=10).contains(&lost), "{lost} lost");
        assert_eq!(written + lost, batches);
    }

    #[test]
    fn a_reader_that_went_away_stops_nothing() {
        let metrics = Metrics::new();
        let (log, writer) =
            AccessLog::start_with(Box::new(Closed), LogFormat::Human, Arc::clone(&metrics))
                .unwrap();
        let local = log.local();
        for _ in 0..3 {
            local.write(&entry());
            local.flush();
        }
        drop(local);
        drop(log);
        writer.finish();
        assert_eq!(dropped(&metrics), 3);
    }
}
