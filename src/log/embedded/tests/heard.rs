//! What was logged in a thread, as text.

use std::cell::RefCell;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber, span, subscriber};

thread_local! {
    /// The warnings of this thread, while it listens.
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs `body` and returns what it returns with the fields of the warnings and errors that it logged in this
/// thread.
pub(super) fn warnings<T>(body: impl FnOnce() -> T) -> (T, String) {
    // One subscriber for the whole process: `tracing` asks only that of the thread in which a line is first
    // reached whether anybody wants it, and remembers a no for all threads.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        subscriber::set_global_default(Listener).expect("the only one");
        // For lines that were first reached just before.
        tracing::callsite::rebuild_interest_cache();
    });
    HEARD.set(Some(Vec::new()));
    let result = body();
    let heard = HEARD.take().unwrap_or_default();
    (result, heard.join(" "))
}

struct Listener;

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> subscriber::Interest {
        if *metadata.level() <= Level::WARN {
            subscriber::Interest::sometimes()
        } else {
            subscriber::Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && HEARD.with_borrow(Option::is_some)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{}={value:?}", field.name());
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(|heard| heard.push(text)));
    }
}
