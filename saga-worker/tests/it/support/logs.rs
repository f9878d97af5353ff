//! What the process said in its log.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LISTENING: Once = Once::new();

/// Everything of level `warn` and above that the whole test process has said since the first
/// call of [`Logs::listen`].
pub(crate) struct Logs;

impl Logs {
    pub(crate) fn listen() {
        LISTENING.call_once(|| {
            tracing::subscriber::set_global_default(Self).expect("nobody else listens");
        });
    }

    /// The lines that hold all of these words.
    pub(crate) fn with(words: &[&str]) -> Vec<String> {
        let mut lines = LINES.lock().unwrap().clone();
        lines.retain(|line| words.iter().all(|word| line.contains(word)));
        lines
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a text takes what is written");
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
