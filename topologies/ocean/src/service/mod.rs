//! The pipeline as a service: readings are posted, and averages and alerts are read, over HTTP.
//!
//! ```text
//!  POST /readings --> post (each line checked) --> intake --> log --> pipeline --> log --> pages --> GET /averages
//!                                                    \--> known: idempotency keys                   GET /alerts
//!  settings: flags, environment, a file           rate: what an address may post      overview     .../live
//! ```
//! Guard, server, metrics, health and the page come from marea ([`marea::admin`]); this module adds the
//! routes for oceans. `docs/service.md` is for its users; ADR 0031 gives the reasons for the design.

pub mod settings;
pub mod post;
pub mod known;
pub mod intake;
pub mod rate;
pub mod pages;
pub mod overview;
pub mod api;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marea::admin::{self, AdminOptions, Guard, Limits, Reads, Server, Token};
use marea::base::{Env, Error, Result, SystemEnv};
use marea::log::{self, Budget, Log, OpenOptions};
use marea::runtime::{self, Application, StopSignal};
use marea::topology::Topology;
use tokio::sync::watch;

use self::api::Service;
use self::intake::Intake;
use self::pages::Results;
use self::rate::Rate;
use self::settings::Settings;
use crate::patience::wait_out;
use crate::topology::{self, ALERTS, APPLICATION, AVERAGES, DEAD_LETTERS, READINGS};

/// How soon a signal or a failure is noticed.
const LOOK: Duration = Duration::from_millis(50);
/// How long requests with readings may take after the service is told to stop: a commit has 20 seconds.
const FINISHING: Duration = Duration::from_secs(25);
/// How long the pipeline may take to close.
const CLOSING: Duration = Duration::from_secs(30);
/// Maximum number of open pages.
const PAGES: usize = 64;
/// Number of letters in an instance's name.
const NAME_LEN: usize = 16;

/// Runs the service until SIGINT or SIGTERM, then shuts down cleanly.
///
/// # Errors
/// `Invalid` if it cannot run with the settings; else the error that made it fail.
pub fn run(settings: &Settings) -> Result<()> {
    let stop = StopSignal::listen()?;
    let env: Arc<dyn Env> = SystemEnv::shared();
    let guard = guard(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|cause| Error::invalid("the system cannot start threads").with_source(cause))?;
    // The address first: errors in it then cost nothing.
    let server = runtime.block_on(bind(settings))?;
    let topology = topology(settings)?;
    let log = open(settings, &env)?;
    let patiently = |doing: &str, ask: &mut dyn FnMut() -> Result<()>| {
        wait_out(&*env, || stop.is_set(), doing, ask)
    };
    let mut partitions = settings.partitions;
    patiently("creating topics", &mut || {
        // A log that was created with another number of partitions keeps it.
        partitions = log
            .topic(READINGS)?
            .map_or(partitions, |topic| topic.partitions);
        log.create_topics(&topology::topics(partitions))?;
        log.create_topics(&[known::topic()])
    })?;
    let member = member(&settings.state, &*env)?;
    let mut started = None;
    patiently("starting the pipeline", &mut || {
        let builder = Application::builder(topology.clone(), APPLICATION)
            .log(Arc::clone(&log))
            .env(Arc::clone(&env))
            .state_directory(&settings.state)
            .settings(pipeline(settings));
        started = Some(builder.start()?);
        Ok(())
    })?;
    let Some(mut application) = started else {
        return Err(Error::internal("the pipeline did not start"));
    };
    let (stopping, stopped) = watch::channel(false);
    let intake_settings = intake::Settings {
        member,
        partitions,
        keys: settings.keys,
    };
    let averages = Results::follow(Arc::clone(&log), Arc::clone(&env), AVERAGES)?;
    let alerts = Results::follow(Arc::clone(&log), Arc::clone(&env), ALERTS)?;
    let (averages, alerts) = (Arc::new(averages), Arc::new(alerts));
    let service = Arc::new(Service::new(
        Intake::start(Arc::clone(&log), Arc::clone(&env), intake_settings)?,
        averages,
        alerts,
        Rate::new(settings.rate),
        Arc::clone(&env),
        stopped,
        settings.connections / 2,
    ));
    let own = api::routes(Arc::clone(&service));
    let own = match settings.token {
        Some(_) => guard.protect(own),
        // On loopback, where anyone on this machine may post.
        None => guard.protect_place(own),
    };
    let assets = guard.protect_place(overview::assets());
    // With the streams of results, which may be half of the connections, they leave some for posts.
    let pages = (settings.connections / 4).min(PAGES);
    let options = AdminOptions::new(guard).title("ocean").event_streams(pages);
    let options = options.section(overview::section(Arc::clone(&service)));
    let options = overview::counted(options, &service)?;
    let router = admin::router(application.handle(), options)
        .merge(own)
        .merge(assets);
    say(&format!("listening on http://{}", server.address()))?;
    let failed = runtime.block_on(async {
        let mut failed = None;
        let until = async {
            failed = ended(&stop, &application, &service.intake).await;
            // From here on no readings are taken; requests in progress are answered.
            stopping.send_replace(true);
            let begun_ms = env.monotonic_ms();
            let is_late = || env.monotonic_ms() - begun_ms > FINISHING.as_millis() as u64;
            while service.posting() > 0 && !is_late() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let served = server.serve(router, until).await;
        failed.or(served.err())
    });
    // Nobody can post any more: what was queued is committed, and then the pipeline is closed.
    service.intake.finish();
    let closed = application.close(CLOSING);
    failed.map_or(closed, Err)
}

/// Prints what a start on this log would keep, add, move, leave behind and refuse, and changes nothing.
///
/// # Errors
/// `Invalid` if it would refuse to start.
pub fn compare(settings: &Settings) -> Result<()> {
    let env: Arc<dyn Env> = SystemEnv::shared();
    let builder = Application::builder(topology(settings)?, APPLICATION);
    let builder = builder.log(open(settings, &env)?);
    let change = builder.settings(pipeline(settings)).compare()?;
    say(change.to_string().trim_end())?;
    change.check()
}

fn topology(settings: &Settings) -> Result<Topology> {
    topology::build(topology::Options {
        window: settings.window,
        grace: settings.grace,
        ..topology::Options::default()
    })
}

fn open(settings: &Settings, env: &Arc<dyn Env>) -> Result<Arc<dyn Log>> {
    let budget = Budget::new(settings.memory_bytes / 4);
    log::open(&settings.log, &OpenOptions::new(Arc::clone(env), budget))
}

/// Waits for a signal, which returns `None`, or a failure.
async fn ended(stop: &StopSignal, application: &Application, intake: &Intake) -> Option<Error> {
    loop {
        if stop.is_set() {
            return None;
        }
        match application.wait(Duration::ZERO) {
            Ok(false) => {}
            Ok(true) => return Some(Error::internal("the pipeline stopped unexpectedly")),
            Err(error) => return Some(error),
        }
        if let Some(error) = intake.error() {
            return Some(error);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Access control: with a token, every request must show it; on loopback without one, anyone on this
/// machine has access.
fn guard(settings: &Settings) -> Result<Guard> {
    let token = settings.token.as_ref();
    let token = token.map(|token| Token::new(token.reveal())).transpose()?;
    Ok(Guard {
        reads: match token {
            Some(_) => Reads::WithToken,
            None => Reads::Open,
        },
        token,
        hosts: settings.hosts.clone(),
    })
}

/// Binds the first of the addresses that is available.
async fn bind(settings: &Settings) -> Result<Server> {
    let limits = Limits {
        connections: settings.connections,
        // The route refuses a larger body with the reason.
        body_bytes: post::BODY_BYTES + 1,
        ..Limits::default()
    };
    let mut outcome = Err(Error::invalid("--listen does not name an address"));
    for address in &settings.addresses {
        outcome = Server::bind(*address, limits).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn pipeline(settings: &Settings) -> runtime::Settings {
    runtime::Settings {
        workers: settings.workers,
        // The budget of an embedded log is part of it.
        memory_bytes: settings.memory_bytes,
        policies: topology::policies(),
        dead_letter_topic: Some(DEAD_LETTERS.to_owned()),
        accept_orphans: settings.accept_orphans.clone(),
        ..runtime::Settings::default()
    }
}

/// The name of this instance among those that take turns: random, and constant as long as the directory
/// exists.
fn member(directory: &Path, env: &dyn Env) -> Result<String> {
    let path = directory.join("intake");
    let named = fs::read_to_string(&path).ok();
    if let Some(name) = named.filter(|name| name.len() == NAME_LEN) {
        return Ok(name);
    }
    let name = format!("{:016x}", env.random_u64());
    let written = fs::create_dir_all(directory)
        .and_then(|()| fs::write(path.with_extension("new"), &name))
        .and_then(|()| fs::rename(path.with_extension("new"), &path));
    written.map(|()| name).map_err(|cause| {
        let message = format!(
            "{}: cannot be written; choose another --state",
            path.display()
        );
        Error::invalid(message).with_source(cause)
    })
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|cause| Error::invalid("writing to standard output").with_source(cause))
}
