//! The format as a table: every key, what it takes, and what it is for.
//!
//! The parser refuses what is not in here, and the JSON Schema is made from it, so the two cannot
//! say different things.

/// What a value may be.
#[derive(Debug)]
pub(super) enum Kind {
    /// A name of a definition, step or participant.
    Name,
    /// Any text.
    Text,
    /// A whole number.
    Count { min: u32, max: u32 },
    /// A number that may have a fraction.
    Factor { min: u32, max: u32 },
    /// A time such as `1m30s`.
    Duration,
    /// A size such as `64KiB`.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any YAML, with expressions in its texts.
    Template,
    /// A list of the same.
    List(&'static Kind),
    /// A mapping from names of the user's choice.
    Map(&'static Kind),
    /// A mapping with keys of ours.
    Object(&'static Object),
    /// One of two.
    Either(&'static Kind, &'static Kind),
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// Exactly one of these is there.
    pub(super) one_of: &'static [&'static str],
}

/// One key of an [`Object`].
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) about: &'static str,
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, is_required: false, about }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, is_required: true, about }
}

impl Object {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

pub(super) static DEFINITION: Object = Object {
    name: "definition",
    about: "A saga definition: what a saga of this kind consists of.",
    keys: &[
        required(
            "name",
            Kind::Name,
            "The name of the definition, as in URLs: lower-case letters, digits and hyphens.",
        ),
        key(
            "version",
            Kind::Count { min: 1, max: u32::MAX },
            "The version. Running sagas stay on the version they started with. Default: 1.",
        ),
        key(
            "deadline",
            Kind::Duration,
            "How long after its start a saga turns backward, unless its pivot was handed out. Default: never.",
        ),
        key(
            "allow_hosts",
            Kind::List(&Kind::Text),
            "Hosts (inventory.internal, *.internal), addresses (127.0.0.1) and blocks (10.0.0.0/8) that may be called although they are private, and by plain http.",
        ),
        key(
            "defaults",
            Kind::Object(&DEFAULTS),
            "Policies of every step that does not say otherwise.",
        ),
        key(
            "participants",
            Kind::Map(&Kind::Either(&Kind::Text, &Kind::Object(&PARTICIPANT))),
            "The services that take part, by name: a URL, or a URL with more to say.",
        ),
        required(
            "steps",
            Kind::List(&Kind::Either(&Kind::Object(&STEP), &Kind::Object(&GROUP))),
            "The steps in order: compensatable ones, at most one pivot, retriable ones.",
        ),
    ],
    one_of: &[],
};

pub(super) static DEFAULTS: Object = Object {
    name: "defaults",
    about: "Policies of every step that does not say otherwise.",
    keys: &[
        key("timeout", Kind::Duration, TIMEOUT),
        key("retry", Kind::Object(&RETRY), RETRIED),
        key("compensation_timeout", Kind::Duration, COMPENSATION_TIMEOUT),
        key("compensation_retry", Kind::Object(&RETRY), COMPENSATION_RETRIED),
        key("breaker", Kind::Object(&BREAKER), BREAKS),
    ],
    one_of: &[],
};

pub(super) static PARTICIPANT: Object = Object {
    name: "participant",
    about: "A service that takes part in sagas.",
    keys: &[
        required("url", Kind::Text, "Its base URL, such as https://payments.example/v1."),
        key("headers", Kind::Map(&Kind::Text), HEADERS),
        key("rejected", Kind::List(&REJECTION), REJECTED),
        key("answer_max", Kind::Size, ANSWER_MAX),
        key("breaker", Kind::Object(&BREAKER), BREAKS),
    ],
    one_of: &[],
};

pub(super) static STEP: Object = Object {
    name: "step",
    about: "One step: compensatable (`action` and `compensation`), `pivot` or `retriable`.",
    keys: &[
        required("name", Kind::Name, "The name of the step, unique in the definition."),
        key(
            "participant",
            Kind::Name,
            "Whom it calls: a name from `participants`. Leave it out where the calls are full URLs.",
        ),
        key("action", CALL_OR_PATH, "The call that can be undone by `compensation`."),
        key(
            "compensation",
            CALL_OR_PATH,
            "The call that undoes `action`. It must bear an action that never happened.",
        ),
        key(
            "pivot",
            CALL_OR_PATH,
            "The last call that may be refused: once it is processed, the saga only goes forward.",
        ),
        key("retriable", CALL_OR_PATH, "A call that must succeed in the end."),
        key("timeout", Kind::Duration, TIMEOUT),
        key("retry", Kind::Object(&RETRY), RETRIED),
        key("compensation_timeout", Kind::Duration, COMPENSATION_TIMEOUT),
        key("compensation_retry", Kind::Object(&RETRY), COMPENSATION_RETRIED),
        key("breaker", Kind::Object(&BREAKER), BREAKS),
    ],
    one_of: &["action", "pivot", "retriable"],
};

pub(super) static GROUP: Object = Object {
    name: "group",
    about: "Steps that run at the same time, all compensatable or all retriable.",
    keys: &[required("parallel", Kind::List(&Kind::Object(&STEP)), "The steps of the group.")],
    one_of: &[],
};

const CALL_OR_PATH: Kind = Kind::Either(&Kind::Text, &Kind::Object(&CALL));

pub(super) static CALL: Object = Object {
    name: "call",
    about: "A call, where a path or URL alone does not say enough.",
    keys: &[
        required(
            "url",
            Kind::Text,
            "A path below the participant's URL, or a full URL. Expressions may stand in path and query.",
        ),
        key("method", Kind::Word(&METHODS), "The method. Default: POST."),
        key("headers", Kind::Map(&Kind::Text), HEADERS),
        key(
            "body",
            Kind::Template,
            "The JSON body. Default: that of the participant protocol. A text that is one expression keeps the type of its value.",
        ),
        key("rejected", Kind::List(&REJECTION), REJECTED),
        key("answer_max", Kind::Size, ANSWER_MAX),
    ],
    one_of: &[],
};

/// The methods of a call, each of which has a body.
pub(super) const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

const REJECTION: Kind = Kind::Count { min: 400, max: 499 };

pub(super) static RETRY: Object = Object {
    name: "retry",
    about: "How often to try, and how long to wait between: exponential with full jitter.",
    keys: &[
        key(
            "attempts",
            Kind::Count { min: 1, max: 1_000_000 },
            "Attempts in all, the first one included.",
        ),
        key("delay", Kind::Duration, "Bound of the first delay."),
        key("delay_max", Kind::Duration, "Bound of every delay."),
        key(
            "multiplier",
            Kind::Factor { min: 1, max: 100 },
            "What each bound is multiplied by to give the next.",
        ),
    ],
    one_of: &[],
};

pub(super) static BREAKER: Object = Object {
    name: "breaker",
    about: "When a participant is left alone. All steps of a participant share its breaker.",
    keys: &[
        key(
            "failures_to_open",
            Kind::Count { min: 1, max: u32::MAX },
            "Failures within the window that open the breaker.",
        ),
        key(
            "calls_min",
            Kind::Count { min: 0, max: u32::MAX },
            "Calls within the window before it may open.",
        ),
        key(
            "failure_percent_min",
            Kind::Count { min: 0, max: 100 },
            "Failures must also be this share of the window's calls, in percent.",
        ),
        key("window", Kind::Duration, "Length of the sliding window."),
        key("open", Kind::Duration, "How long it stays open before it probes."),
        key("probes_max", Kind::Count { min: 1, max: u32::MAX }, "Probes in flight at once."),
        key(
            "probes_to_close",
            Kind::Count { min: 1, max: u32::MAX },
            "Successful probes that close it.",
        ),
        key(
            "wave_calls",
            Kind::Count { min: 1, max: u32::MAX },
            "Calls of the first wave after closing; each later wave is twice as large.",
        ),
        key("wave", Kind::Duration, "Length of one wave."),
        key(
            "waves",
            Kind::Count { min: 0, max: 1_000 },
            "Number of waves until every call passes again.",
        ),
    ],
    one_of: &[],
};

const TIMEOUT: &str = "How long one attempt of the action may take. Default: 3s, at most 1h.";
const RETRIED: &str = "How often the action is tried. Default: 3 attempts from 2s, for pivots and retriable steps 20 from 1s.";
const COMPENSATION_TIMEOUT: &str =
    "How long one attempt of the compensation may take. Default: 3s, at most 1h.";
const COMPENSATION_RETRIED: &str =
    "How often the compensation is tried before a person is asked. Default: 20 attempts from 1s.";
const BREAKS: &str = "When the participant is left alone.";
const HEADERS: &str = "Headers to add. A value may hold expressions, and secrets as secret://NAME.";
const REJECTED: &str = "The statuses by which the participant says no, vouching that nothing happened. Default: 409 and 422.";
const ANSWER_MAX: &str = "The largest answer that is read. Default: 1MiB.";
