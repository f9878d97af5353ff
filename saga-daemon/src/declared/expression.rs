//! Expressions between `{{` and `}}`: bounded, typed, without loops and without code.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use minijinja::{Environment, Expression as Compiled, UndefinedBehavior, Value, filters, tests};

use super::nearest::nearest;

/// Longest expression, in bytes.
const LEN_MAX: usize = 1_000;
/// Instructions that one evaluation may take.
const FUEL: u64 = 10_000;
/// Deepest nesting of an evaluation.
const DEPTH_MAX: usize = 50;

/// The filters there are. None of them reads anything but its arguments.
const FILTERS: [&str; 17] = [
    "abs", "default", "first", "float", "int", "join", "last", "length", "lower", "max", "min",
    "replace", "round", "string", "tojson", "trim", "upper",
];
/// The tests there are.
const TESTS: [&str; 7] = ["boolean", "defined", "mapping", "none", "number", "sequence", "string"];
/// Words of the expression language, which are no variables.
const WORDS: [&str; 11] =
    ["and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or"];

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(DEPTH_MAX);
    // What is missing is missing to the end of the path; that the result is there is checked after.
    engine.set_undefined_behavior(UndefinedBehavior::Chainable);
    engine.add_filter("abs", filters::abs);
    engine.add_filter("default", filters::default);
    engine.add_filter("first", filters::first);
    engine.add_filter("float", filters::float);
    engine.add_filter("int", filters::int);
    engine.add_filter("join", filters::join);
    engine.add_filter("last", filters::last);
    engine.add_filter("length", filters::length);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("max", filters::max);
    engine.add_filter("min", filters::min);
    engine.add_filter("replace", filters::replace);
    engine.add_filter("round", filters::round);
    engine.add_filter("string", filters::string);
    engine.add_filter("tojson", filters::tojson);
    engine.add_filter("trim", filters::trim);
    engine.add_filter("upper", filters::upper);
    engine.add_test("boolean", tests::is_boolean);
    engine.add_test("defined", tests::is_defined);
    engine.add_test("mapping", tests::is_mapping);
    engine.add_test("none", tests::is_none);
    engine.add_test("number", tests::is_number);
    engine.add_test("sequence", tests::is_sequence);
    engine.add_test("string", tests::is_string);
    engine
});

/// A compiled expression.
pub(super) struct Expression {
    text: String,
    compiled: Compiled<'static, 'static>,
    /// Whether it says what to do about a value that is not there.
    pub(super) has_default: bool,
    /// Whether it reads the output of the very step whose compensation it belongs to.
    pub(super) reads_own: bool,
}

/// What is wrong with an expression, which part, and the remedy.
pub(super) struct ExpressionFault {
    pub(super) part: String,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{ {} }}}}", self.text)
    }
}

impl Expression {
    /// Compiles an expression and checks the names of its filters and tests.
    pub(super) fn compile(text: &str) -> Result<Self, ExpressionFault> {
        let text = text.trim();
        let fault =
            |message: String| ExpressionFault { part: text.to_owned(), message, help: None };
        if text.is_empty() {
            return Err(fault(
                "an expression is empty: expected one such as {{ input.order }}".into(),
            ));
        }
        if text.len() > LEN_MAX {
            return Err(fault(format!("an expression is longer than {LEN_MAX} bytes")));
        }
        let has_default = check_words(text)?;
        let compiled = ENGINE.compile_expression_owned(text.to_owned()).map_err(|error| {
            fault(format!(
                "`{text}` is no expression: {}",
                error.detail().unwrap_or("it cannot be read")
            ))
        })?;
        Ok(Self { text: text.to_owned(), compiled, has_default, reads_own: false })
    }

    /// The paths it reads, such as `input.order`.
    pub(super) fn reads(&self) -> BTreeSet<String> {
        self.compiled.undeclared_variables(true).into_iter().collect()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its value; an error in words where there is none.
    pub(super) fn value(&self, scope: &Value) -> Result<Value, String> {
        self.compiled.eval(scope.clone()).map_err(|error| format!("`{}`: {error}", self.text))
    }
}

/// Checks what the engine would only notice when it comes to it: filters, tests and methods.
/// Returns whether the expression says what to do about a missing value.
fn check_words(text: &str) -> Result<bool, ExpressionFault> {
    let tokens = tokens(text);
    let at =
        |index: Option<usize>| index.and_then(|index| tokens.get(index).copied()).unwrap_or("");
    let mut has_default = false;
    for (index, token) in tokens.iter().enumerate() {
        let before = at(index.checked_sub(1));
        let is_word = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        has_default |= matches!(*token, "or" | "if") || (before == "|" && *token == "default");
        if before == "|" && is_word {
            known("filter", token, FILTERS)?;
        }
        let is_tested = before == "is" || (before == "not" && at(index.checked_sub(2)) == "is");
        if is_tested && is_word && *token != "not" {
            known("test", token, TESTS)?;
        }
        let is_called = is_word && at(Some(index + 1)) == "(" && !WORDS.contains(token);
        if is_called && before != "|" && !is_tested {
            return Err(ExpressionFault {
                part: (*token).to_owned(),
                message: format!("`{token}(..)` is a call: expected values and filters only"),
                help: None,
            });
        }
    }
    Ok(has_default)
}

fn known(
    kind: &str,
    word: &str,
    known: impl IntoIterator<Item = &'static str> + Clone,
) -> Result<(), ExpressionFault> {
    if known.clone().into_iter().any(|name| name == word) {
        return Ok(());
    }
    let names: Vec<_> = known.clone().into_iter().collect();
    Err(ExpressionFault {
        part: word.to_owned(),
        message: format!("there is no {kind} `{word}`: expected one of {}", names.join(", ")),
        help: nearest(word, known).map(|meant| format!("did you mean `{meant}`?")),
    })
}

/// The words and signs of an expression; a text in quotes is one token.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = match first {
            '"' | '\'' => quoted(rest, first),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..len]);
        }
        rest = &rest[len..];
    }
    tokens
}

/// The length of a text in quotes at the beginning of `text`, the quotes included.
pub(super) fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
