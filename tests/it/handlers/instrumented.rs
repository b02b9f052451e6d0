//! Beside an attribute that rewrites the body.

use super::*;

/// Remembers each span that is opened: its name and its fields.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == module_path!()
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let fields: Vec<&str> = span.metadata().fields().iter().map(|field| field.name()).collect();
        self.0.lock().unwrap().push(format!("{} {}", span.metadata().name(), fields.join(" ")));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[post("/all/{id}")]
#[audited(capture_only)]
#[tracing::instrument]
async fn all(conn: &mut PgConnection, id: Path<i64>) -> AppResult<&'static str> {
    insert(conn, *id, "all")?;
    Ok("")
}

#[audited(capture_only)]
#[tracing::instrument(skip(conn), fields(note = *id))]
#[post("/skipped/{id}")]
async fn skipped(conn: &mut PgConnection, id: Path<i64>) -> AppResult<impl Responder> {
    insert(conn, *id, "skipped")?;
    Ok("")
}

fn routes(config: &mut ServiceConfig) {
    config.service(all).service(skipped);
}

#[test]
fn instrument_below_sees_the_handler_with_its_parameters() {
    let host = Host::new();
    let spans = Spans::default();
    tracing::subscriber::with_default(spans.clone(), || {
        for path in ["/all/1", "/skipped/2"] {
            assert_eq!(host.answer(routes, path).status, 200);
        }
    });
    assert_eq!(*spans.0.lock().unwrap(), ["all conn id", "skipped id note"]);
    assert_eq!(host.notes(), ["1 all", "2 skipped"]);
}
