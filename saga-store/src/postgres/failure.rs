//! What an error of the driver or the server means: one table of SQLSTATEs.

use std::fmt::Display;

use saga_core::store::StoreError;
use sqlx::Error;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The statement did not happen; the same connection can try it again at once.
    Repeat,
    /// The connection is of no further use, and what became of the statement is unknown.
    Reconnect,
    /// Not now: the statement did not happen, and the server needs time or help.
    Later,
    /// What was read cannot be right.
    Corrupt,
    /// The database is not one this release can use.
    Never,
}

/// The table. The first entry whose code is a prefix of the SQLSTATE counts.
const REMEDIES: [(&str, Remedy, &str); 27] = [
    ("40001", Remedy::Repeat, "serialization failure"),
    ("40P01", Remedy::Repeat, "deadlock"),
    ("40003", Remedy::Reconnect, "completion unknown"),
    ("40", Remedy::Repeat, "rolled back"),
    ("55P03", Remedy::Repeat, "lock not available"),
    ("57014", Remedy::Repeat, "cancelled by a time limit"),
    ("57P01", Remedy::Reconnect, "the server is being shut down"),
    ("57P02", Remedy::Reconnect, "the server crashed"),
    ("57P03", Remedy::Reconnect, "the server is starting up or in recovery"),
    ("57P05", Remedy::Reconnect, "idle session closed"),
    ("57", Remedy::Reconnect, "operator intervention"),
    ("25P03", Remedy::Reconnect, "idle transaction closed"),
    ("25006", Remedy::Reconnect, "the server is read-only, as after a failover"),
    ("26000", Remedy::Reconnect, "a pooler mixed up prepared statements"),
    ("08", Remedy::Reconnect, "connection failure"),
    ("53300", Remedy::Later, "too many connections"),
    ("53100", Remedy::Later, "disk full"),
    ("53200", Remedy::Later, "out of memory"),
    ("53", Remedy::Later, "insufficient resources"),
    ("58", Remedy::Later, "system error on the server"),
    ("28", Remedy::Never, "access denied"),
    ("3D000", Remedy::Never, "there is no such database"),
    ("42501", Remedy::Never, "permission denied"),
    ("42", Remedy::Never, "the tables are not the ones this release works with"),
    ("22", Remedy::Never, "a value does not fit"),
    ("23", Remedy::Corrupt, "tables contradict each other"),
    ("XX00", Remedy::Corrupt, "the server found damage"),
];

/// Sorts an error.
pub(super) fn remedy(error: &Error) -> Remedy {
    match error {
        Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let known = REMEDIES.iter().find(|(prefix, ..)| code.starts_with(prefix));
            known.map_or(Remedy::Later, |(_, remedy, _)| *remedy)
        }
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::ColumnIndexOutOfBounds { .. } => {
            Remedy::Corrupt
        }
        _ => Remedy::Reconnect,
    }
}

/// The error as callers of the store see it.
pub(super) fn classify(what: impl Display, error: &Error) -> StoreError {
    let meaning = error
        .as_database_error()
        .and_then(|database| database.code())
        .and_then(|code| REMEDIES.iter().find(|(prefix, ..)| code.starts_with(prefix)))
        .map_or(String::new(), |(_, _, meaning)| format!(" ({meaning})"));
    let message = format!("{what}: {error}{meaning}");
    match remedy(error) {
        Remedy::Corrupt => StoreError::Corrupt(message),
        Remedy::Never => StoreError::Unusable(message),
        Remedy::Repeat | Remedy::Reconnect | Remedy::Later => StoreError::Unavailable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[derive(Debug)]
    struct Coded(&'static str);

    impl std::fmt::Display for Coded {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Coded {}

    impl sqlx::error::DatabaseError for Coded {
        fn message(&self) -> &str {
            self.0
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(Cow::Borrowed(self.0))
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    #[test]
    fn every_sqlstate_of_the_failure_model_has_its_remedy() {
        let expected = [
            ("40001", Remedy::Repeat),
            ("40P01", Remedy::Repeat),
            ("55P03", Remedy::Repeat),
            ("57014", Remedy::Repeat),
            ("57P01", Remedy::Reconnect),
            ("57P02", Remedy::Reconnect),
            ("57P03", Remedy::Reconnect),
            ("08006", Remedy::Reconnect),
            ("08P01", Remedy::Reconnect),
            ("25006", Remedy::Reconnect),
            ("53300", Remedy::Later),
            ("53100", Remedy::Later),
            ("53200", Remedy::Later),
            ("58030", Remedy::Later),
            ("28P01", Remedy::Never),
            ("3D000", Remedy::Never),
            ("42P01", Remedy::Never),
            ("42501", Remedy::Never),
            ("22021", Remedy::Never),
            ("23505", Remedy::Corrupt),
            ("XX001", Remedy::Corrupt),
            ("P0001", Remedy::Later),
        ];
        for (code, wanted) in expected {
            assert_eq!(remedy(&Error::Database(Box::new(Coded(code)))), wanted, "{code}");
        }
    }

    #[test]
    fn a_more_general_code_never_hides_a_special_one() {
        for (at, (code, ..)) in REMEDIES.iter().enumerate() {
            let hidden_by = REMEDIES[..at].iter().find(|(earlier, ..)| code.starts_with(earlier));
            assert_eq!(hidden_by, None, "{code}");
        }
    }

    #[test]
    fn a_broken_connection_is_replaced() {
        let broken = Error::Io(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(remedy(&broken), Remedy::Reconnect);
        let StoreError::Unavailable(_) = classify("x", &broken) else { panic!("not unavailable") };
    }
}
