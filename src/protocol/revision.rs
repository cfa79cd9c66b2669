//! The dated protocol versions, as properties. Outside this file nobody compares dates.

/// A dated protocol version that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
}

impl Revision {
    /// Every revision with sessions, oldest first.
    pub(crate) const LEGACY: [Revision; 4] =
        [Revision::V2024_11_05, Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
        }
    }

    /// The revision of that date; an unknown or future date is none of ours (never compared as text).
    pub(crate) fn parse(date: &str) -> Option<Revision> {
        Revision::LEGACY.into_iter().find(|revision| revision.as_str() == date)
    }

    /// The modern revisions that we speak, as `supported` lists them.
    pub(crate) const MODERN: [&str; 1] = ["2026-07-28"];

    /// Whether a date is that of a modern revision, known to us or not. Text that is no date is none.
    pub(crate) fn is_modern(date: &str) -> bool {
        let is_date = date.len() == 10
            && date.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
        is_date && date >= Revision::MODERN[0]
    }

    /// Whether we speak that modern revision.
    pub(crate) fn is_modern_known(date: &str) -> bool {
        Revision::MODERN.contains(&date)
    }

    /// The newest modern revision that both speak.
    pub(crate) fn mutual<'a>(theirs: impl Iterator<Item = &'a str>) -> Option<&'static str> {
        let theirs: Vec<&str> = theirs.collect();
        Revision::MODERN.into_iter().rev().find(|date| theirs.contains(date))
    }

    /// Whether a stream may begin with an event without data and end before its answer, for the client to come back.
    ///
    /// 2025-11-25, Transports, Sending Messages to the Server, 6. Older clients fail on the empty data.
    pub(crate) fn has_polling(self) -> bool {
        matches!(self, Revision::V2025_11_25)
    }

    /// What the gateway itself offers to a legacy server, and to a client that asks for what nobody knows.
    pub(crate) const NEWEST_LEGACY: Revision = Revision::V2025_11_25;

    /// What a client speaks that does not say so, where nothing else is known (2025-11-25, Protocol Version Header).
    pub(crate) const UNTOLD: Revision = Revision::V2025_03_26;

    /// Messages may come in arrays (2025-03-26, Basic, Batching).
    pub(crate) fn has_batches(self) -> bool {
        self == Revision::V2025_03_26
    }

    /// Content may be audio.
    pub(crate) fn has_audio(self) -> bool {
        self != Revision::V2024_11_05
    }

    /// Content may be a link to a resource.
    pub(crate) fn has_resource_links(self) -> bool {
        matches!(self, Revision::V2025_06_18 | Revision::V2025_11_25)
    }

    /// A form's choices may have their titles in `oneOf`.
    pub(crate) fn has_titled_enums(self) -> bool {
        self == Revision::V2025_11_25
    }

    /// A sampling message may have several blocks of content.
    pub(crate) fn has_content_arrays(self) -> bool {
        self == Revision::V2025_11_25
    }

    /// All dates we speak, for an error text.
    pub(crate) fn list() -> String {
        Revision::LEGACY.map(Revision::as_str).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_dates_are_revisions() {
        for revision in Revision::LEGACY {
            assert_eq!(Revision::parse(revision.as_str()), Some(revision));
        }
        for date in ["", "zzz", "2025-11-26", "2025-11-25 ", "2026-07-28"] {
            assert_eq!(Revision::parse(date), None, "{date}");
        }
    }

    #[test]
    fn later_dates_are_modern() {
        for (date, modern) in [
            ("2026-07-28", true),
            ("2026-07-27", false),
            ("2027-01-01", true),
            ("2025-11-25", false),
            ("zzzz-zz-zz", false),
            ("2026-07-28x", false),
            ("", false),
        ] {
            assert_eq!(Revision::is_modern(date), modern, "{date}");
        }
    }

    #[test]
    fn only_2025_11_25_has_polling() {
        assert_eq!(Revision::LEGACY.map(Revision::has_polling), [false, false, false, true]);
    }
}
