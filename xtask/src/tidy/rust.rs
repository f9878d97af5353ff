//! Rust source told apart into code, comments and strings, line by line.
//!
//! This is no parser: it knows just enough of the language that a rule about code is not deceived by
//! a comment, nor a rule about strings by code.

/// One line of a Rust file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub number: usize,
    /// The code, with the contents of strings taken out and comments left out.
    pub code: String,
    /// The comments.
    pub comment: String,
    /// The contents of the strings that begin here, whole even if they end later.
    pub strings: Vec<String>,
    /// Whether it is part of a test.
    pub is_test: bool,
}

impl Line {
    /// Whether there is code on it, be it the middle of a long string.
    pub(super) fn is_code(&self) -> bool {
        !self.code.trim().is_empty()
    }
}

/// Tells a source apart.
pub(super) fn scan(source: &str) -> Vec<Line> {
    let mut scanner = Scanner { rest: source, lines: vec![Line { number: 1, ..Line::default() }] };
    while !scanner.rest.is_empty() {
        scanner.token();
    }
    let mut lines = scanner.lines;
    mark_tests(&mut lines);
    lines
}

struct Scanner<'a> {
    rest: &'a str,
    lines: Vec<Line>,
}

impl<'a> Scanner<'a> {
    /// Takes the next comment, string, character or piece of code.
    fn token(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            let comment = self.take(end);
            self.line().comment.push_str(comment);
        } else if rest.starts_with("/*") {
            self.block_comment();
        } else if let Some((opening, hashes)) = raw_string(rest).filter(|_| !self.after_word()) {
            self.take(opening);
            let closing = format!("\"{}", "#".repeat(hashes));
            let end = self.rest.find(&closing).unwrap_or(self.rest.len());
            self.string(end, closing.len());
        } else if rest.starts_with('"') {
            self.take(1);
            let end = end_of_string(self.rest);
            self.string(end, 1);
        } else if let Some(length) = character(rest) {
            self.take(length);
            self.line().code.push_str("' '");
        } else {
            self.code();
        }
    }

    fn code(&mut self) {
        let Some(next) = self.rest.chars().next() else { return };
        self.take(next.len_utf8());
        match next {
            '\n' => self.new_line(),
            _ => self.line().code.push(next),
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while !self.rest.is_empty() {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
            } else {
                let next = self.rest.chars().next().map_or(1, char::len_utf8);
                match self.take(next) {
                    "\n" => self.new_line(),
                    text => self.line().comment.push_str(text),
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Takes a string of `length` bytes and its closing; each of its lines counts as code.
    fn string(&mut self, length: usize, closing: usize) {
        let content = self.take(length.min(self.rest.len()));
        self.take(closing.min(self.rest.len()));
        let line = self.line();
        line.strings.push(content.to_owned());
        line.code.push_str("\"\"");
        for _ in content.matches('\n') {
            self.new_line();
            self.line().code.push_str("\"\"");
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn line(&mut self) -> &mut Line {
        self.lines.last_mut().expect("a scanner begins with a line and never takes one away")
    }

    fn new_line(&mut self) {
        let number = self.lines.len() + 1;
        self.lines.push(Line { number, ..Line::default() });
    }

    /// Whether the code so far ends in a word, so that an `r` that follows belongs to it.
    fn after_word(&mut self) -> bool {
        self.line().code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }
}

/// The length of the opening of a raw string and the number of its hashes.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let after_r = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let after_hashes = after_r.trim_start_matches('#');
    let opening = rest.len() - after_hashes.len() + 1;
    after_hashes.starts_with('"').then_some((opening, after_r.len() - after_hashes.len()))
}

/// Where a string ends, its opening already taken.
fn end_of_string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, next) in rest.char_indices() {
        match next {
            '"' if !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The length of a character literal; nothing for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if let Some(escape) = inside.strip_prefix('\\') {
        let first = escape.chars().next().map_or(0, char::len_utf8);
        return escape[first..].find('\'').map(|end| 1 + 1 + first + end + 1);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}

/// Marks each item under `#[cfg(test)]` or the like, from the attribute to its closing brace.
fn mark_tests(lines: &mut [Line]) {
    let mut depth = 0_usize;
    let mut inside = false;
    for line in lines {
        let begins = line.code.contains("#[cfg(test)]") || line.code.contains("#[cfg(all(test");
        if begins && !inside {
            (inside, depth) = (true, 0);
        }
        if !inside {
            continue;
        }
        line.is_test = true;
        for next in line.code.chars() {
            match next {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            inside &= !(depth == 0 && (next == '}' || next == ';'));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(source: &str) -> Vec<String> {
        scan(source).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_are_no_code() {
        let lines = scan("let a = 1; // todo!\n/* dbg!(\n/* deep */ still */ let b;\n");
        assert_eq!(lines[0].code, "let a = 1; ");
        assert_eq!(lines[0].comment, "// todo!");
        assert_eq!((lines[1].code.as_str(), lines[2].code.trim()), ("", "let b;"));
        assert!(lines[1].comment.contains("dbg!("));
    }

    #[test]
    fn strings_are_told_apart_from_code() {
        let lines = scan(r###"f("a \" // b", r#"c "d""#, br"e\", 'x', '"', '\'', 'life)"###);
        assert_eq!(lines[0].strings, ["a \\\" // b", "c \"d\"", "e\\"]);
        assert_eq!(lines[0].code, "f(\"\", \"\", \"\", ' ', ' ', ' ', 'life)");
    }

    #[test]
    fn a_string_over_many_lines_stands_where_it_begins_and_counts_as_code() {
        let lines = scan("let s = \"one\n\n  two\"; g();\nh();");
        assert_eq!(lines[0].strings, ["one\n\n  two"]);
        assert_eq!(codes("let s = \"one\n\n  two\"; g();\nh();").len(), 4);
        assert!(lines.iter().all(Line::is_code));
        assert_eq!(lines[2].code, "\"\"; g();");
    }

    #[test]
    fn a_word_that_ends_in_r_does_not_open_a_raw_string() {
        assert_eq!(codes(r#"expr"a""#), [r#"expr"""#]);
    }

    #[test]
    fn an_item_for_tests_is_marked_to_its_closing_brace() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { x; }\n}\nfn c() {}\n";
        let is_test: Vec<_> = scan(source).iter().map(|line| line.is_test).collect();
        assert_eq!(is_test, [false, true, true, true, true, false, false]);
        let source = "#[cfg(test)]\nmod tests;\nfn c() {}";
        let is_test: Vec<_> = scan(source).iter().map(|line| line.is_test).collect();
        assert_eq!(is_test, [true, true, false]);
    }
}
