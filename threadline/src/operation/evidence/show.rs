//! A proof document as a text for people.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

use super::assess::{Claim, ClaimReason};
use super::proof::{Mode, ProofDocument};
use super::subject::{Source, Status, Subject};

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A text with nothing in it that a terminal would obey.
pub(super) fn plain(text: impl fmt::Display) -> String {
    let mut plain = String::new();
    for character in text.to_string().chars() {
        if character.is_control() {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn list(subjects: &[Subject]) -> String {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.finding)?;
        if let Some(because) = self.because {
            return write!(f, ", for {because}");
        }
        if self.violations > 0 {
            write!(f, " by {} of the newest", self.violations)?;
        }
        write!(f, "; evidence: {}, ", self.evidence)?;
        match self.reason {
            ClaimReason::DirectFact => write!(f, "by {}", count(self.records, "direct record")),
            ClaimReason::PostureSnapshot => {
                write!(f, "from {} of how it was set", count(self.records, "record"))
            }
            ClaimReason::Declared => write!(f, "as {} says", count(self.records, "record")),
            ClaimReason::WordOfTheApplication => {
                write!(f, "from {} which any role can record", count(self.records, "record"))?;
                f.write_str(if self.counts { "" } else { "; not counted beside the others" })
            }
            ClaimReason::NoRecords | ClaimReason::NotApplicable => {
                f.write_str("for there are no records")?;
                f.write_str(match self.subject {
                    _ if !self.counts => "; none of this kind need have happened",
                    Subject::TriggerCoverage => "; `threadline verify` makes one",
                    Subject::RedactionPolicy => "; `threadline verify` makes one of what models declare",
                    Subject::RetentionPolicy => "; `threadline retention run --execute` makes one",
                    Subject::SupportScopePosture => {
                        "; the application makes one: `Trail::record_posture`, where it sets what support may see"
                    }
                    _ => "",
                })
            }
        }
    }
}

impl fmt::Display for ProofDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject.map_or("overview", Subject::as_str);
        let mode = match self.mode {
            Mode::Latest => "the newest record of each reference",
            Mode::History => "all records",
        };
        writeln!(f, "Threadline evidence, format {}: {subject}", self.format_version)?;
        writeln!(f, "generated {}, {mode}", instant(self.generated_at))?;
        if let Some(reference) = &self.filters.reference {
            writeln!(f, "about {}", plain(reference))?;
        }
        match (self.filters.from, self.filters.to) {
            (None, None) => {}
            (from, to) => {
                let [from, to] = [from, to].map(|at| at.map_or_else(|| "…".to_owned(), instant));
                writeln!(f, "from {from} to {to}")?;
            }
        }
        let assessment = &self.claim_assessment;
        writeln!(f, "\nfinding: {}{}", assessment.finding, list(&assessment.finding_by))?;
        writeln!(f, "evidence: {}{}", assessment.evidence, list(&assessment.evidence_by))?;
        for claim in &self.claim_assessment.claims {
            writeln!(f, "  {claim}")?;
        }
        let summary = &self.summary;
        write!(f, "\n{} about {}", count(summary.records, "record"), count(summary.references, "thing"))?;
        if summary.statuses.finding + summary.statuses.error > 0 {
            write!(
                f,
                "; {}, {}",
                count(summary.statuses.finding, "finding"),
                count(summary.statuses.error, "error")
            )?;
        }
        writeln!(f)?;
        for record in &self.records {
            write!(f, "  {}  {}  {}", instant(record.recorded_at), record.subject, plain(&record.reference))?;
            if record.status != Status::Ok {
                write!(f, "  {}", record.status)?;
            }
            write!(f, "  {}", plain(record.detail.as_str()))?;
            let provenance = &record.provenance;
            let [writer, entry_point, db_role] =
                [&provenance.writer, &provenance.entry_point, &provenance.db_role].map(plain);
            if let Some(actor) = &record.actor {
                write!(f, "  asked for by {}, says role {db_role}", plain(actor))?;
            }
            let source = match provenance.source {
                Source::Operation => "",
                Source::Application => ", which any role can record",
            };
            writeln!(f, "  ({writer}, {entry_point}, as role {db_role}{source})")?;
        }
        if summary.truncated {
            writeln!(f, "  … and more; the counts and what is said above are of all")?;
        }
        Ok(())
    }
}
