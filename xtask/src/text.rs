//! Small words and tables for people.

use std::time::Duration;

/// `1 order`, `2 orders`: the number with its noun, which takes a plain `s`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// A duration at the precision a person wants: `840 ms`, `12.3 s`, `4 min 05 s`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = duration.as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Rows as aligned lines, each indented by two blanks: the first column to the left, the others to
/// the right when they hold a number.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    rows.iter().map(|row| line(row, &widths, &numeric(rows, columns))).collect()
}

fn numeric(rows: &[Vec<String>], columns: usize) -> Vec<bool> {
    let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    (0..columns)
        .map(|column| rows.iter().skip(1).filter_map(|row| row.get(column)).all(is_number))
        .collect()
}

fn line(row: &[String], widths: &[usize], numeric: &[bool]) -> String {
    let cells = row.iter().zip(widths).zip(numeric);
    let cells = cells.map(|((cell, width), numeric)| match numeric {
        true => format!("{cell:>width$}"),
        false => format!("{cell:<width$}"),
    });
    format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let lines = table(&[row(&["verdict", "count"]), row(&["completed", "7"])]);
        assert_eq!(lines, ["  verdict    count", "  completed      7"]);
    }

    #[test]
    fn a_span_is_shown_at_the_precision_a_person_wants() {
        assert_eq!(span(Duration::from_millis(840)), "840 ms");
        assert_eq!(span(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(span(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn one_of_a_thing_is_not_plural() {
        assert_eq!(count(1, "order"), "1 order");
        assert_eq!(count(0, "order"), "0 orders");
    }
}
