//! The frame of every page: styles for light and dark, headings, tables.

use std::fmt::Write as _;

use super::svg::escape;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#66707b;--grid:#dde2e7;--paper:#fff;--band:#f6d7a7;\
--c0:#1f6feb;--c1:#c2410c;--c2:#15803d;--c3:#7c3aed;--c4:#a16207;--c5:#0e7490;--c6:#be185d;--c7:#4b5563}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa4ae;--grid:#30363d;--paper:#14171a;--band:#5a4420;\
--c0:#6cb0ff;--c1:#ff9a62;--c2:#5fd38a;--c3:#c0a2ff;--c4:#f0d35a;--c5:#5ad1e0;--c6:#ff8ac0;--c7:#b4bcc6}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:900px;margin:2em auto;padding:0 1em}\
h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.1em;margin:1.6em 0 .3em}p{margin:.3em 0}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15em .9em .15em 0;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right}svg{width:100%;height:auto}.line{fill:none;stroke-width:1.6;stroke-linecap:round}.grid{stroke:var(--grid)}\
.tick{fill:var(--soft);font-size:11px}.key{font-size:12px;font-weight:600}.band{fill:var(--band);opacity:.55}\
.wrong{color:#c2261c;font-weight:600}.soft{color:var(--soft)}\
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}\
.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}\
text.c0{fill:var(--c0);stroke:none}text.c1{fill:var(--c1);stroke:none}text.c2{fill:var(--c2);stroke:none}\
text.c3{fill:var(--c3);stroke:none}text.c4{fill:var(--c4);stroke:none}\
text.c5{fill:var(--c5);stroke:none}text.c6{fill:var(--c6);stroke:none}text.c7{fill:var(--c7);stroke:none}";

/// A page under construction.
#[derive(Debug)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        ))
    }

    pub(crate) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", escape(text));
    }

    pub(crate) fn words(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", escape(text));
    }

    /// Words that must not be overlooked.
    pub(crate) fn wrong(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p class=\"wrong\">{}</p>", escape(text));
    }

    pub(crate) fn plot(&mut self, plot: &super::svg::Plot) {
        self.0.push_str(&plot.render());
        self.0.push('\n');
    }

    /// A table whose first column is text and whose others are numbers.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let class = |column: usize| if column == 0 { "" } else { " class=\"n\"" };
        self.0.push_str("<table>");
        if !head.is_empty() {
            self.row("th", &head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>(), class);
        }
        for row in rows {
            self.row("td", row, class);
        }
        self.0.push_str("</table>\n");
    }

    /// A table of facts: names and what they are.
    pub(crate) fn facts<N: AsRef<str>>(&mut self, facts: &[(N, String)]) {
        self.0.push_str("<table>");
        for (name, fact) in facts {
            self.row("td", &[name.as_ref().to_owned(), fact.clone()], |_| "");
        }
        self.0.push_str("</table>\n");
    }

    fn row(&mut self, element: &str, cells: &[String], class: impl Fn(usize) -> &'static str) {
        self.0.push_str("<tr>");
        for (column, cell) in cells.iter().enumerate() {
            let (class, cell) = (class(column), escape(cell));
            let _ = write!(self.0, "<{element}{class}>{cell}</{element}>");
        }
        self.0.push_str("</tr>");
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("</body></html>\n");
        self.0
    }
}
