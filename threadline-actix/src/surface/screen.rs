//! What there is to see: each screen, what it takes to see it, and where it stands.

use super::access::Capability;
use super::query::Query;
use super::visit::ACCESS;

/// A screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Home,
    Timeline,
    Actions,
    Transaction,
    Row,
    Actor,
    Correlation,
    Undo,
    Views,
    Coverage,
    Redaction,
    Retention,
    Gaps,
    Evidence,
    Exports,
    AccessLog,
}

/// The three questions the surface is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Find,
    Verify,
    Prove,
}

impl Group {
    pub(super) const ALL: [Self; 3] = [Self::Find, Self::Verify, Self::Prove];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Find => "Find",
            Self::Verify => "Verify",
            Self::Prove => "Prove",
        }
    }

    /// The screens one gets to from everywhere.
    pub(super) fn screens(self) -> &'static [Screen] {
        match self {
            Self::Find => &[
                Screen::Timeline,
                Screen::Actions,
                Screen::Row,
                Screen::Actor,
                Screen::Correlation,
                Screen::Views,
            ],
            Self::Verify => &[Screen::Coverage, Screen::Redaction, Screen::Retention, Screen::Gaps],
            Self::Prove => &[Screen::Evidence, Screen::Exports, Screen::AccessLog],
        }
    }
}

/// What can be done at a screen, besides looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    StartExport,
    CancelExport,
    DownloadExport,
    RemoveDue,
    SaveView,
    ForgetView,
}

impl Deed {
    pub(super) const ALL: [Self; 6] = [
        Self::StartExport,
        Self::CancelExport,
        Self::DownloadExport,
        Self::RemoveDue,
        Self::SaveView,
        Self::ForgetView,
    ];

    /// Where it is done.
    pub(super) fn screen(self) -> Screen {
        match self {
            Self::StartExport | Self::CancelExport | Self::DownloadExport => Screen::Exports,
            Self::RemoveDue => Screen::Retention,
            Self::SaveView | Self::ForgetView => Screen::Views,
        }
    }

    /// Its route below the mount.
    pub(super) fn route(self) -> &'static str {
        match self {
            Self::StartExport => "/exports/start",
            Self::CancelExport => "/exports/cancel",
            Self::DownloadExport => "/exports/file",
            Self::RemoveDue => "/retention/run",
            Self::SaveView => "/views/save",
            Self::ForgetView => "/views/forget",
        }
    }

    /// Whether it takes a form, and not a link.
    pub(super) fn takes_form(self) -> bool {
        !matches!(self, Self::DownloadExport)
    }

    /// What the access log calls it, and its verb.
    pub(super) fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::StartExport => ("requested", "request"),
            Self::CancelExport => ("cancelled", "cancel"),
            Self::DownloadExport => ("downloaded", "download"),
            Self::RemoveDue => ("requested", "request"),
            Self::SaveView => ("saved", "save"),
            Self::ForgetView => ("forgotten", "forget"),
        }
    }
}

impl Screen {
    /// All of them.
    pub(super) const ALL: [Self; 16] = [
        Self::Home,
        Self::Timeline,
        Self::Actions,
        Self::Transaction,
        Self::Row,
        Self::Actor,
        Self::Correlation,
        Self::Undo,
        Self::Views,
        Self::Coverage,
        Self::Redaction,
        Self::Retention,
        Self::Gaps,
        Self::Evidence,
        Self::Exports,
        Self::AccessLog,
    ];

    /// Its route below the mount.
    pub(super) fn route(self) -> &'static str {
        match self {
            Self::Home => "/",
            Self::Timeline => "/timeline",
            Self::Actions => "/actions",
            Self::Transaction => "/transactions/{id}",
            Self::Row => "/rows",
            Self::Actor => "/actors",
            Self::Correlation => "/correlations",
            Self::Undo => "/undo",
            Self::Views => "/views",
            Self::Coverage => "/coverage",
            Self::Redaction => "/redaction",
            Self::Retention => "/retention",
            Self::Gaps => "/gaps",
            Self::Evidence => "/evidence",
            Self::Exports => "/exports",
            Self::AccessLog => "/access-log",
        }
    }

    /// What it is called on the pages.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Timeline => "Timeline",
            Self::Actions => "Actions",
            Self::Transaction => "Transaction",
            Self::Row => "Rows",
            Self::Actor => "Actors",
            Self::Correlation => "Correlation",
            Self::Undo => "Undo plan",
            Self::Views => "Saved views",
            Self::Coverage => "Coverage",
            Self::Redaction => "Redaction",
            Self::Retention => "Retention",
            Self::Gaps => "Gaps",
            Self::Evidence => "Evidence",
            Self::Exports => "Exports",
            Self::AccessLog => "Access log",
        }
    }

    /// What it is called in the access log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Timeline => "timeline",
            Self::Actions => "actions",
            Self::Transaction => "transaction",
            Self::Row => "row",
            Self::Actor => "actor",
            Self::Correlation => "correlation",
            Self::Undo => "undo",
            Self::Views => "views",
            Self::Coverage => "coverage",
            Self::Redaction => "redaction",
            Self::Retention => "retention",
            Self::Gaps => "gaps",
            Self::Evidence => "evidence",
            Self::Exports => "exports",
            Self::AccessLog => "access_log",
        }
    }

    /// The screen that has what is asked for here: what it takes has to be held as well. Who looked at the trail is told by
    /// the access log alone, whatever list it is asked of.
    pub(super) fn answering(self, query: &Query) -> Self {
        let asks_for_looks =
            query.rest().iter().any(|(name, value)| name == "category" && value.trim() == ACCESS);
        match self {
            Self::Actions if asks_for_looks => Self::AccessLog,
            other => other,
        }
    }

    /// What is said to who may not see it.
    pub(super) fn denial(self) -> &'static str {
        match self {
            Self::Home
            | Self::Timeline
            | Self::Actions
            | Self::Transaction
            | Self::Row
            | Self::Actor
            | Self::Correlation
            | Self::Undo
            | Self::Views => "You may not see the trail.",
            Self::Coverage => "You may not see which tables are captured.",
            Self::Redaction => "You may not see the redaction policy.",
            Self::Retention => "You may not see retention.",
            Self::Gaps => "You may not see where capture has gaps.",
            Self::Evidence => "You may not see the evidence.",
            Self::Exports => "You may not export.",
            Self::AccessLog => "You may not see who looked at the trail.",
        }
    }

    /// What it takes to see it.
    pub(super) fn capability(self) -> Capability {
        match self {
            Self::Home
            | Self::Timeline
            | Self::Actions
            | Self::Transaction
            | Self::Row
            | Self::Actor
            | Self::Correlation
            | Self::Undo
            | Self::Views => Capability::Trail,
            Self::Coverage | Self::Gaps => Capability::Coverage,
            Self::Redaction => Capability::Policy,
            Self::Retention => Capability::Retention,
            Self::Evidence | Self::AccessLog => Capability::Evidence,
            Self::Exports => Capability::Exports,
        }
    }

    /// After how many seconds a page that stays open asks again; only for pages that show no row of anybody's.
    pub(super) fn refreshes_after(self) -> Option<u32> {
        match self {
            Self::Coverage | Self::Retention => Some(30),
            Self::Exports => Some(5),
            _ => None,
        }
    }

    /// The parts of its address that are instants.
    pub(super) fn instants(self) -> &'static [&'static str] {
        match self {
            Self::Timeline | Self::Actions | Self::Actor | Self::Exports | Self::AccessLog => &["from", "to"],
            Self::Row => &["at", "from", "to"],
            Self::Undo => &["to"],
            _ => &[],
        }
    }

    /// The command that answers the same question without the surface.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Home | Self::Timeline | Self::Views => "threadline timeline",
            Self::Actions => "threadline actions",
            Self::Transaction => "threadline incident ID",
            Self::Row => "threadline history TABLE KEY",
            Self::Actor => "threadline actor ACTOR",
            Self::Correlation => "threadline correlation ID",
            Self::Undo => "threadline undo",
            Self::Coverage => "threadline coverage",
            Self::Redaction => "threadline policy",
            Self::Retention => "threadline retention plan",
            Self::Gaps => "threadline doctor",
            Self::Evidence => "threadline evidence",
            Self::Exports => "threadline export",
            Self::AccessLog => "threadline actions --category threadline.access",
        }
    }
}
