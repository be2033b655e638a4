//! What the user sees: a table that is redrawn on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use console::{Alignment, Term, pad_str, style};
use marea::base::{Env, Error, ErrorKind, Result, TopicPartition};
use marea::log::{Isolation, Log};
use marea::runtime::{DropReason, Snapshot};
use ocean::burst::Burst;
use ocean::feed::Progress;
use ocean::model::{Alert, Average};
use ocean::results::Follower;
use ocean::topology::{ALERTS, AVERAGES, DEAD_LETTERS, READINGS};

use crate::arguments::Arguments;

/// Number of alerts on the screen.
const ALERTS_SHOWN: usize = 5;
/// Number of characters in the progress bar.
const BAR: usize = 40;
/// Between two plain lines.
const PLAIN_MS: u64 = 1_000;

/// Draws on standard output.
pub struct View {
    term: Term,
    /// Whether the terminal can be redrawn.
    live: bool,
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    averages: Follower,
    alerts: Follower,
    /// Dead letters of earlier runs.
    dead_letters_before: i64,
    /// Dead letters of all runs, as last reported.
    dead_letters: i64,
    latest: BTreeMap<String, Average>,
    last_alerts: Vec<Alert>,
    /// The alerts of the plain lines.
    burst: Burst,
    averages_seen: u64,
    alerts_seen: u64,
    started_ms: u64,
    /// Number of lines of the frame on the terminal.
    drawn: usize,
    plain_ms: u64,
    /// When the rate was last computed, and the number of readings by then.
    rate_from: (u64, u64),
    rate: f64,
}

impl View {
    /// A view that shows results from now on.
    pub fn start(log: &Arc<dyn Log>, env: Arc<dyn Env>, arguments: &Arguments) -> Result<Self> {
        let follow = |topic| Follower::new(&**log, topic, end(&**log, topic)?);
        let term = Term::buffered_stdout();
        let dead_letters = end(&**log, DEAD_LETTERS)?;
        let now_ms = env.monotonic_ms();
        Ok(Self {
            live: term.is_term() && !arguments.plain,
            term,
            averages: follow(AVERAGES)?,
            alerts: follow(ALERTS)?,
            dead_letters_before: dead_letters,
            dead_letters,
            log: log.clone(),
            latest: BTreeMap::new(),
            last_alerts: Vec::new(),
            burst: Burst::default(),
            averages_seen: 0,
            alerts_seen: 0,
            started_ms: now_ms,
            drawn: 0,
            plain_ms: now_ms,
            rate_from: (now_ms, 0),
            rate: 0.0,
            env,
        })
    }

    /// Reports at which offsets the input continues.
    pub fn resumed(&mut self, snapshot: &Snapshot) -> Result<()> {
        let resumed = snapshot.tasks.iter().flat_map(|task| &task.resumed_at);
        let readings = resumed.filter(|(place, _)| &*place.topic == READINGS);
        let places: Vec<_> = readings
            .map(|(place, offset)| format!("{place} at {offset}"))
            .collect();
        self.line(&format!("resuming: {}", places.join(", ")))
    }

    /// Shows the progress; plain lines are printed once a second.
    pub fn draw(&mut self, snapshot: &Snapshot, fed: &Progress) -> Result<()> {
        let now_ms = self.env.monotonic_ms();
        self.collect()?;
        let (from_ms, from_lines) = self.rate_from;
        if now_ms - from_ms >= PLAIN_MS {
            self.rate = (fed.lines - from_lines) as f64 * 1e3 / (now_ms - from_ms) as f64;
            self.rate_from = (now_ms, fed.lines);
        }
        if self.live {
            return self.frame(snapshot, fed, now_ms);
        }
        if now_ms - self.plain_ms >= PLAIN_MS {
            self.plain_ms = now_ms;
            self.sum_up()?;
            let line = self.numbers(snapshot, fed, now_ms);
            self.line(&line)?;
        }
        Ok(())
    }

    /// The last frame.
    pub fn end(&mut self, snapshot: &Snapshot, fed: &Progress) -> Result<()> {
        self.collect()?;
        self.sum_up()?;
        if self.live {
            self.frame(snapshot, fed, self.env.monotonic_ms())?;
        }
        // The frame stays; what follows is written below it.
        self.drawn = 0;
        Ok(())
    }

    /// The summary of the run.
    pub fn summary(
        &mut self,
        fed: &Progress,
        snapshot: &Snapshot,
        averages: usize,
        alerts: usize,
    ) -> Result<()> {
        let seconds = (self.env.monotonic_ms() - self.started_ms) as f64 / 1e3;
        let now = end(&*self.log, DEAD_LETTERS)?;
        self.line(&format!(
            "done in {seconds:.1} s: {} readings, {} dead letters, {} late, {} new averages, {} new alerts",
            thousands(fed.lines),
            now - self.dead_letters_before,
            late(snapshot),
            self.averages_seen,
            self.alerts_seen,
        ))?;
        self.line(&format!(
            "in the log: {averages} final averages, {alerts} alerts, {now} dead letters"
        ))
    }

    /// What to try next.
    pub fn next(&mut self, arguments: &Arguments, directory: &Path) -> Result<()> {
        let command = "cargo run --release --example ocean_aggregates --";
        self.line("try next:")?;
        if arguments.input.is_none() {
            self.line(&format!(
                "    {command} --input topologies/ocean/data/ocean-readings.jsonl.gz --averages-out averages.jsonl"
            ))?;
        }
        let kafka = arguments.kafka.as_deref();
        let kafka = kafka.map_or(String::new(), |brokers| format!(" --kafka {brokers}"));
        self.line(&format!(
            "    {command}{kafka} --replay --data-dir {}",
            directory.display()
        ))?;
        self.line(&format!("    {command} --help"))?;
        self.line("    kill -9 it while it runs, and start it again: nothing is lost or repeated")
    }

    /// Writes a line, above the frame if there is one.
    pub fn line(&mut self, line: &str) -> Result<()> {
        let erase = std::mem::take(&mut self.drawn);
        let write = || -> std::io::Result<()> {
            self.term.clear_last_lines(erase)?;
            self.term.write_line(line)?;
            self.term.flush()
        };
        written(write())
    }

    /// Takes new results; on plain output alerts are lines.
    fn collect(&mut self) -> Result<()> {
        match self.take_results() {
            // The next poll may return it; the pipeline's own state shows what it is waiting for.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::debug!(%error, "the view is waiting for the log");
                Ok(())
            }
            taken => taken,
        }
    }

    fn take_results(&mut self) -> Result<()> {
        let place = TopicPartition::new(DEAD_LETTERS, 0);
        if let [Some(end)] = self.log.recent_ends(&[place])[..] {
            self.dead_letters = end;
        }
        let (latest, mut seen) = (&mut self.latest, 0);
        self.averages.poll(Duration::ZERO, |average: Average| {
            seen += 1;
            latest.insert(average.ocean.clone(), average);
        })?;
        self.averages_seen += seen;
        let mut alerts = Vec::new();
        self.alerts
            .poll(Duration::ZERO, |alert: Alert| alerts.push(alert))?;
        self.alerts_seen += alerts.len() as u64;
        if !self.live {
            for alert in &alerts {
                let alert_ms = alert.window_start_ms;
                if self.burst.take(alert_ms) {
                    let alert = plain(&alert.to_string());
                    self.line(&format!("alert  {}  {alert}", utc(alert_ms)))?;
                }
            }
        }
        self.last_alerts.append(&mut alerts);
        let surplus = self.last_alerts.len().saturating_sub(ALERTS_SHOWN);
        self.last_alerts.drain(..surplus);
        Ok(())
    }

    /// A summary line for the alerts that were not printed.
    fn sum_up(&mut self) -> Result<()> {
        let Some(hidden) = self.burst.end() else {
            return Ok(());
        };
        self.line(&format!(
            "alert  {} more, of windows from {} to {}",
            thousands(hidden.count),
            utc(hidden.from_ms),
            utc(hidden.to_ms)
        ))
    }

    fn numbers(&self, snapshot: &Snapshot, fed: &Progress, now_ms: u64) -> String {
        format!(
            "{:>4.0} s  {:?}  {:>3.0} %  readings {}  {}/s  lag {}  averages {}  alerts {}  dead letters {}  late {}",
            (now_ms - self.started_ms) as f64 / 1e3,
            snapshot.state,
            fed.done * 100.0,
            thousands(fed.lines),
            thousands(self.rate as u64),
            lag(snapshot),
            self.averages_seen,
            self.alerts_seen,
            self.dead_letters - self.dead_letters_before,
            late(snapshot),
        )
    }

    fn frame(&mut self, snapshot: &Snapshot, fed: &Progress, now_ms: u64) -> Result<()> {
        let full = ((fed.done * BAR as f64) as usize).min(BAR);
        let mut lines = vec![
            String::new(),
            format!(
                "{}  {}{}",
                style("ocean pipeline").bold(),
                style("━".repeat(full)).cyan(),
                style("━".repeat(BAR - full)).dim(),
            ),
            self.numbers(snapshot, fed, now_ms),
            String::new(),
            style("ocean     window from             readings   °C avg   salinity   volume")
                .dim()
                .to_string(),
        ];
        lines.extend(self.latest.values().map(|average| {
            format!(
                "{} {:<22} {:>9}  {:>7.3}  {:>9.3}  {:>7.2}",
                pad_str(&plain(&average.ocean), 9, Alignment::Left, Some("…")),
                utc(average.window_start_ms),
                thousands(average.count.max(0) as u64),
                average.temperature_avg,
                average.salinity_avg,
                average.volume_avg,
            )
        }));
        lines.push(String::new());
        lines.push(style("latest alerts").dim().to_string());
        lines.extend(self.last_alerts.iter().map(|alert| {
            let told = plain(&alert.to_string());
            let alert = format!("{}  {told}", utc(alert.window_start_ms));
            style(alert).yellow().to_string()
        }));
        // A line that wraps could not be erased.
        let width = usize::from(self.term.size().1).max(20) - 1;
        let height = usize::from(self.term.size().0).max(4) - 1;
        lines.truncate(height);
        let erase = std::mem::replace(&mut self.drawn, lines.len());
        let write = || -> std::io::Result<()> {
            self.term.clear_last_lines(erase)?;
            for line in &lines {
                self.term
                    .write_line(&console::truncate_str(line, width, "…"))?;
            }
            self.term.flush()
        };
        written(write())
    }
}

fn end(log: &dyn Log, topic: &str) -> Result<i64> {
    log.end_offset(&TopicPartition::new(topic, 0), Isolation::ReadCommitted)
}

/// How much is left to process, as far as known.
fn lag(snapshot: &Snapshot) -> String {
    let known = snapshot.lag.map(|lag| thousands(lag.max(0).unsigned_abs()));
    known.unwrap_or_else(|| "unknown".to_owned())
}

fn late(snapshot: &Snapshot) -> u64 {
    snapshot.drops.of(DropReason::Late) + snapshot.drops.of(DropReason::Expired)
}

/// Names come from outside: characters that would control the terminal are shown escaped.
fn plain(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A number with thousands separators.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time of readings; none of them is before 1970.
fn utc(time_ms: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(time_ms.max(0).unsigned_abs());
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The reader is gone, as with `| head`: not worth a panic, just the end.
pub fn written(outcome: std::io::Result<()>) -> Result<()> {
    outcome.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "writing to standard output").with_source(cause)
    })
}
