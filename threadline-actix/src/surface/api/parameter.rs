//! What an endpoint takes: one description of each part of a URL, by which it is read, refused and documented.

use serde_json::json;
use utoipa::openapi::path::{Parameter as Documented, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Required};

use threadline::PageRequest;

/// One part of a URL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) kind: Kind,
    pub(super) place: Place,
}

/// Where it stands, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Once,
    Needed,
    Repeated,
    NeededRepeated,
}

/// What its value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// A text of this form, as a regular expression. What has it may still be refused.
    Form(&'static str),
    /// RFC 3339; also without an offset or a time of day, in UTC.
    Instant,
    Id,
    Number {
        most: u32,
        usual: u32,
    },
    OneOf {
        names: &'static [&'static str],
        usual: Option<&'static str>,
    },
}

impl Parameter {
    pub(super) const fn once(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, about, kind, place: Place::Once }
    }

    pub(super) const fn needed(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, about, kind, place: Place::Needed }
    }

    pub(super) const fn text(name: &'static str, about: &'static str) -> Self {
        Self::once(name, Kind::Text, about)
    }

    pub(super) const fn repeated(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, about, kind, place: Place::Repeated }
    }

    /// As the document has it.
    pub(super) fn documented(&self) -> Documented {
        let (place, required) = match self.place {
            Place::Path => (ParameterIn::Path, Required::True),
            Place::Needed | Place::NeededRepeated => (ParameterIn::Query, Required::True),
            Place::Once | Place::Repeated => (ParameterIn::Query, Required::False),
        };
        let parameter = ParameterBuilder::new()
            .name(self.name)
            .parameter_in(place)
            .required(required)
            .description(Some(self.about));
        match self.place {
            Place::Repeated | Place::NeededRepeated => parameter
                .style(Some(ParameterStyle::Form))
                .explode(Some(true))
                .schema(Some(ArrayBuilder::new().items(self.kind.schema()).max_items(Some(100)))),
            _ => parameter.schema(Some(self.kind.schema())),
        }
        .build()
    }
}

impl Kind {
    fn schema(self) -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let schema = match self {
            Self::Text => text.min_length(Some(1)),
            Self::Form(form) => text.pattern(Some(form)),
            Self::Instant => text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
            Self::Id => text.format(Some(SchemaFormat::Custom("uuid".to_owned()))),
            Self::Number { most, usual } => ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(most))
                .default(Some(json!(usual))),
            Self::OneOf { names, usual } => {
                text.enum_values(Some(names.iter().copied())).default(usual.map(|usual| json!(usual)))
            }
        };
        schema.into()
    }
}

/// A name and a text.
pub(super) const PAIR: Kind = Kind::Form("=");

/// What [`Filter::from_pairs`](threadline::Filter::from_pairs) takes but for the time, under the same names.
pub(super) const FILTER: [Parameter; 14] = [
    Parameter::repeated("table", Kind::Text, "Changes of this table, as `posts` or `blog.posts`"),
    Parameter::text("schema", "Changes of the tables in this schema"),
    Parameter::repeated(
        "key",
        PAIR,
        "Changes of the row with this key, as `column=value`; takes exactly one `table`",
    ),
    ACTOR,
    ACTION,
    STATUS,
    CATEGORY,
    CORRELATION_ID,
    Parameter::text(
        "transaction_correlation_id",
        "In transactions with this correlation id, with or without an action",
    ),
    REQUEST_ID,
    JOB_ID,
    Parameter {
        name: "op",
        about: "Of this kind",
        kind: Kind::OneOf { names: &["insert", "update", "delete", "truncate"], usual: None },
        place: Place::Repeated,
    },
    Parameter::text("column", "Updates that changed this column"),
    Parameter::text("db_role", "By database sessions that logged in as this role"),
];

pub(super) const ACTOR: Parameter = Parameter::repeated(
    "actor",
    Kind::Form("^((user|admin|service_account|job|system):.+|anonymous|nobody)$"),
    "By this actor, as `user:42`, `anonymous`, or `nobody` where none was named",
);
pub(super) const ACTION: Parameter =
    Parameter::repeated("action", Kind::Text, "In transactions that recorded an action of this name");
pub(super) const STATUS: Parameter = Parameter::once(
    "status",
    Kind::OneOf { names: &["ok", "error"], usual: None },
    "In transactions whose action ended so",
);
pub(super) const CATEGORY: Parameter =
    Parameter::repeated("category", Kind::Text, "In transactions that recorded an action of this category");
pub(super) const CORRELATION_ID: Parameter =
    Parameter::text("correlation_id", "In transactions that recorded an action with this correlation id");
pub(super) const REQUEST_ID: Parameter = Parameter::text("request_id", "By this request");
pub(super) const JOB_ID: Parameter = Parameter::text("job_id", "By this background job");

/// The time a list is about, as the pages take it. Without any of them it is all there is.
pub(super) const TIME: [Parameter; 3] = [
    Parameter::once(
        "window",
        Kind::OneOf { names: &["1h", "24h", "7d", "30d", "all"], usual: Some("all") },
        "A while up to now; `from` and `to` win over it",
    ),
    Parameter::once(
        "from",
        Kind::Instant,
        "At this instant or later; also `2026-11-21T09:30` and `2026-11-21`, which are UTC",
    ),
    Parameter::once("to", Kind::Instant, "At this instant or earlier"),
];

pub(super) const AFTER: Parameter = Parameter::once(
    "after",
    Kind::Form("^v1[.]"),
    "The `cursor` of the page before; everything else has to be asked as it was for that one",
);
pub(super) const LIMIT: Parameter = Parameter::once(
    "limit",
    Kind::Number { most: PageRequest::MAX_SIZE, usual: 50 },
    "At most so many entries",
);
pub(super) const ORDERS: [&str; 2] = ["newest_first", "oldest_first"];

/// Which page of a list, newest first unless asked otherwise.
pub(super) const PAGE: [Parameter; 3] = [
    AFTER,
    LIMIT,
    Parameter::once(
        "order",
        Kind::OneOf { names: &ORDERS, usual: Some("newest_first") },
        "In which order; that of `after`, if it is given",
    ),
];

/// The row that is asked about.
pub(super) const ROW: [Parameter; 2] = [
    Parameter::needed("table", Kind::Text, "The table of the row, as `posts` or `blog.posts`"),
    Parameter {
        name: "key",
        about: "The row's key: its value, or `column=value` for each column of the key, in one text or each in its own",
        kind: Kind::Text,
        place: Place::NeededRepeated,
    },
];
