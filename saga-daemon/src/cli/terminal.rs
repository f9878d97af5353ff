//! Words of others on the terminal of an operator. A participant writes its errors itself, and whoever
//! gives a command its reason: neither is to move the cursor, colour what it likes or make up lines.

/// A text of somebody else as one line of its own: what does not print is a space.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|c| if prints(c) { c } else { ' ' }).collect()
}

/// A whole text to be shown, of which only the ends of its lines do not print.
pub(super) fn lines(text: &str) -> String {
    text.chars().map(|c| if prints(c) || c == '\n' { c } else { ' ' }).collect()
}

/// Neither controls the terminal nor turns the direction of what stands around it.
fn prints(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_neither_control_the_terminal_nor_make_up_lines() {
        let hostile = "\u{1b}[2J\u{1b}]0;x\u{7}down\r\n  Ways out\u{9b}31m \u{202e}txet\0";
        assert_eq!(line(hostile), " [2J ]0;x down    Ways out 31m  txet ");
        assert_eq!(lines("a\n\u{1b}[31mb\n"), "a\n [31mb\n");
        assert_eq!(line("größe 漢字 🙂"), "größe 漢字 🙂");
    }
}
