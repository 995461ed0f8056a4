//! Bounds the lines of the log, so that clients cannot fill the disk.
//!
//! Each statement that logs at `info` or above may log a limited number of lines a minute. Further lines are counted,
//! and one line reports their number. Audit events have finer limits of their own, in `auth`. Lines below `info` are
//! not limited, because an operator who enables them wants all of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

use crate::auth::AUDIT_LOG_TARGET;

const MINUTE: Duration = Duration::from_secs(60);
/// The number of lines that one statement may log in a minute.
const MAX_LINES: u64 = 60;

/// A logger that passes on a limited number of lines.
pub struct Limited<L> {
    logger: L,
    statements: Mutex<HashMap<Statement, Count>>,
}

/// The place of a statement in the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Statement {
    file: Option<&'static str>,
    line: Option<u32>,
}

struct Count {
    since: Instant,
    lines: u64,
    left_out: u64,
    level: Level,
}

impl<L: Log> Limited<L> {
    pub fn new(logger: L) -> Self {
        let statements = Mutex::default();
        Self { logger, statements }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Statement, Count>> {
        // No code that holds the lock can leave a count in an inconsistent state.
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, statement: Statement, level: Level, left_out: u64) {
        let (file, line) = (statement.file.unwrap_or("unknown"), statement.line.unwrap_or(0));
        self.logger.log(
            &Record::builder()
                .level(level)
                .target(module_path!())
                .args(format_args!(
                    "left out {left_out} lines like one before, logged at {file}:{line}"
                ))
                .build(),
        );
    }
}

impl Count {
    /// Counts a line. Returns whether to log it, and the number of lines that were left out in the minute before, if
    /// that minute is over.
    fn add(&mut self, now: Instant) -> (bool, u64) {
        let mut left_out = 0;
        if now.duration_since(self.since) >= MINUTE {
            left_out = std::mem::take(&mut self.left_out);
            (self.since, self.lines) = (now, 0);
        }
        let is_within = self.lines < MAX_LINES;
        if is_within {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        (is_within, left_out)
    }
}

impl<L: Log> Log for Limited<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() > Level::Info || record.target() == AUDIT_LOG_TARGET {
            return self.logger.log(record);
        }
        if !self.logger.enabled(record.metadata()) {
            return;
        }
        let statement = Statement {
            file: record.file_static(),
            line: record.line(),
        };
        let now = Instant::now();
        let (is_within, left_out) = self
            .lock()
            .entry(statement)
            .or_insert(Count {
                since: now,
                lines: 0,
                left_out: 0,
                level: record.level(),
            })
            .add(now);
        if left_out > 0 {
            self.report(statement, record.level(), left_out);
        }
        if is_within {
            self.logger.log(record);
        }
    }

    /// Logs how many lines have been left out.
    fn flush(&self) {
        let counts = self.lock().iter_mut().map(take).collect::<Vec<_>>();
        for (statement, level, left_out) in counts.into_iter().filter(|(_, _, left_out)| *left_out > 0) {
            self.report(statement, level, left_out);
        }
        self.logger.flush();
    }
}

fn take((statement, count): (&Statement, &mut Count)) -> (Statement, Level, u64) {
    (*statement, count.level, std::mem::take(&mut count.left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Log for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    fn log_at(logger: &Limited<Lines>, line: u32, level: Level, target: &str) {
        let mut record = Record::builder();
        record
            .file_static(Some("a.rs"))
            .line(Some(line))
            .level(level)
            .target(target);
        logger.log(&record.args(format_args!("line")).build());
    }

    #[test]
    fn a_statement_that_repeats_logs_60_lines_a_minute_and_the_number_of_the_others() {
        let logger = Limited::new(Lines::default());
        for _ in 0..1000 {
            log_at(&logger, 1, Level::Warn, "a");
        }
        log_at(&logger, 2, Level::Warn, "a");
        let lines = || logger.logger.0.lock().unwrap().clone();
        assert_eq!(lines().len(), 61, "another statement has a limit of its own");
        logger.flush();
        logger.flush();
        assert_eq!(lines()[61..], ["left out 940 lines like one before, logged at a.rs:1"]);
    }

    #[test]
    fn audit_events_and_debug_lines_are_not_limited_here() {
        let logger = Limited::new(Lines::default());
        for _ in 0..100 {
            log_at(&logger, 1, Level::Info, AUDIT_LOG_TARGET);
            log_at(&logger, 2, Level::Debug, "a");
        }
        assert_eq!(logger.logger.0.lock().unwrap().len(), 200);
    }

    #[test]
    fn the_next_line_after_a_minute_reports_the_lines_left_out() {
        let start = Instant::now();
        let level = Level::Warn;
        let mut count = Count {
            since: start,
            lines: MAX_LINES,
            left_out: 0,
            level,
        };
        assert_eq!(count.add(start), (false, 0));
        assert_eq!(count.add(start + MINUTE), (true, 1));
        assert_eq!(count.add(start + MINUTE), (true, 0));
    }
}
