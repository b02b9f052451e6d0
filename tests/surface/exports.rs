//! Exports: who may start, see and have them, and what is in them.

use std::fs;
use std::path::PathBuf;

use actix_web::HttpRequest;
use actix_web::test::TestRequest;
use threadline::exports::{self, ExportRequest};
use threadline::{Actor, ExportFormat, ExportOptions, Scope, TableName};
use threadline_actix::surface::{Access, SurfaceConfig};
use threadline_tests::run;
use threadline_worker::{Connections, Stop, Storage, Worker};
use uuid::Uuid;

use super::site::{Answer, Site, Visitor};

/// Where the files of a test lie, until it is over.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("threadline-surface-{}", Uuid::new_v4().simple())))
    }

    fn storage(&self) -> Storage {
        Storage::create(&format!("file://{}", self.0.display())).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_storage(site: &Site, place: &Place) -> SurfaceConfig {
    site.config().storage(place.storage())
}

/// Makes what is queued.
fn work(site: &Site, place: &Place) {
    let worker = Worker::builder(Connections::to_url(site.db.url()))
        .storage(place.storage())
        .without_partitions()
        .build()
        .unwrap();
    worker.run_once(&Stop::new()).unwrap();
}

/// The job a form has led to.
fn started(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.body);
    let job = answer.header("location").strip_prefix("../exports?job=").unwrap().to_owned();
    assert!(Uuid::try_parse(&job).is_ok(), "{job}");
    job
}

fn jobs(site: &Site) -> String {
    site.text("SELECT count(*) FROM threadline.export_jobs")
}

fn log(site: &Site) -> Vec<String> {
    threadline_tests::texts(
        &mut site.db.connect(),
        "SELECT name || ' ' || status || ' ' || coalesce(comment, '') FROM threadline.audit_actions \
         WHERE category = 'threadline.access' ORDER BY id",
    )
}

#[test]
fn a_job_has_the_filter_and_the_scope_of_who_asked_and_its_file_nothing_else() {
    let (site, place) = (Site::new(), Place::new());
    run(
        &mut site.db.connect(),
        "CREATE TABLE drafts (id bigint PRIMARY KEY, tenant bigint, body text); SELECT threadline.attach('drafts', scope => 'tenant')",
    );
    site.write("user:7", "INSERT INTO drafts VALUES (1, 7, 'draft-7')");
    let config = with_storage(&site, &place);
    let form = "table=notes&window=all&format=ndjson";
    let job = started(&site.post(config.clone(), Visitor::Support, "exports/start", form));
    let page = format!("exports?job={job}");
    let waiting = site.see(config.clone(), Visitor::Support, &page).body;
    assert!(waiting.contains("queued") && waiting.contains("data-refresh"), "{waiting}");
    assert!(!waiting.contains("exports/file"), "there is no file yet");
    work(&site, &place);

    let ready = site.see(config.clone(), Visitor::Support, &page).body;
    let digest = site.text("SELECT manifest->>'sha256' FROM threadline.export_jobs");
    assert!(ready.contains(&digest) && ready.contains("<dd>1</dd>") && ready.contains("Expires"), "{ready}");
    let request = TestRequest::get().uri(&format!("/audit/exports/file?job={job}"));
    // What a page sends that asks for itself again keeps nothing that is done off the record.
    let request = request.insert_header(("x-threadline-refresh", "1"));
    let file = site.ask(config.clone(), Visitor::Support, request);
    assert_eq!(file.status, 200);
    assert!(file.header("content-disposition").starts_with("attachment; filename=\"threadline-export-"));
    assert!(file.body.contains("marker-7"), "{}", file.body);
    assert!(!file.body.contains("marker-8"), "another tenant's");
    assert!(!file.body.contains("draft-7"), "another table's");
    assert_eq!(
        log(&site),
        [
            format!("threadline.exports.requested ok exports?{form}"),
            format!("threadline.exports.viewed ok {page}"),
            format!("threadline.exports.viewed ok {page}"),
            format!("threadline.exports.downloaded ok {page}"),
        ]
    );
    let evidence = site.text(
        "SELECT string_agg(detail->>'event', ', ' ORDER BY recorded_at, id) FROM threadline.evidence_records \
         WHERE subject = 'export_delivery'",
    );
    assert_eq!(evidence, "completed, handed_out");
}

#[test]
fn what_may_be_exported_can_be_less_than_what_may_be_seen() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place)
        .authorize_export(async |_: &HttpRequest| Ok(Access::within(Scope::tenant("7"), "tenant 7")));
    let page = site.see(config.clone(), Visitor::Admin, "exports?window=all").body;
    assert!(page.contains("1 change in all") && page.contains("Limited to tenant 7"), "{page}");
    let job = started(&site.post(config.clone(), Visitor::Admin, "exports/start", "window=all&format=csv"));
    work(&site, &place);
    let file = site.see(config, Visitor::Admin, &format!("exports/file?job={job}")).body;
    assert!(file.contains("marker-7") && !file.contains("marker-8"), "{file}");
}

#[test]
fn one_finds_ones_jobs_again_under_any_scope() {
    let (site, place) = (Site::new(), Place::new());
    let of_a_list = || Scope::tenants(["9", "7"]).or(Scope::table(TableName::new(None, "notes")));
    let config = with_storage(&site, &place)
        .authorize_export(async move |_: &HttpRequest| Ok(Access::within(of_a_list(), "these")));
    let job = started(&site.post(config.clone(), Visitor::Support, "exports/start", "window=all"));
    for path in ["exports", &format!("exports?job={job}")] {
        let page = site.see(config.clone(), Visitor::Support, path).body;
        assert!(page.contains(&format!("exports?job={job}\"")), "{path}: {page}");
    }
}

#[test]
fn a_window_is_of_when_it_was_asked_for() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place);
    started(&site.post(config, Visitor::Admin, "exports/start", "window=1h&format=csv"));
    let from = site.text(
        "SELECT (requested_at - (filter->'from'->>0)::timestamptz) BETWEEN '1 hour' AND '1 hour 1 minute' FROM threadline.export_jobs",
    );
    assert_eq!(from, "true");
}

#[test]
fn what_is_somebody_elses_looks_as_if_it_were_not_there() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place);
    let job = started(&site.post(config.clone(), Visitor::Admin, "exports/start", "window=all"));
    let missing = "00000000-0000-7000-8000-000000000000";
    // The same person who may see another tenant today, and one who could see everything until yesterday.
    let of_tenant_8 = SurfaceConfig::new(site.pool.clone())
        .authorize(async |_: &HttpRequest| Ok(Access::within(Scope::tenant("8"), "tenant 8")))
        .actor(async |request: &HttpRequest| {
            let is_admin = request.headers().get("x-visitor").is_some_and(|name| name == "admin");
            Ok(Some(Actor::user(if is_admin { 1 } else { 2 })))
        })
        .storage(place.storage());
    // Somebody else who may see the same.
    let of_a_colleague = config.clone().actor(async |_: &HttpRequest| Ok(Some(Actor::user(3))));
    let own = started(&site.post(config.clone(), Visitor::Support, "exports/start", "window=all"));
    let look = |answered: &dyn Fn(&str) -> Answer, id: &str| {
        let (hidden, none) = (answered(id), answered(missing));
        assert_eq!(hidden.status, 404, "{}", hidden.body);
        assert_eq!(hidden.body.replace(id, "ID"), none.body.replace(missing, "ID"));
    };
    for made in [false, true] {
        if made {
            work(&site, &place);
        }
        for (config, visitor, id) in [
            (&config, Visitor::Support, &job),
            (&of_tenant_8, Visitor::Support, &own),
            (&of_tenant_8, Visitor::Admin, &job),
            (&of_a_colleague, Visitor::Admin, &job),
            (&of_a_colleague, Visitor::Support, &own),
        ] {
            look(&|id| site.see(config.clone(), visitor, &format!("exports?job={id}")), id);
            look(&|id| site.see(config.clone(), visitor, &format!("exports/file?job={id}")), id);
            look(&|id| site.post(config.clone(), visitor, "exports/cancel", &format!("job={id}")), id);
            let list = site.see(config.clone(), visitor, "exports").body;
            assert!(!list.contains(id.as_str()), "{list}");
        }
    }
    assert_eq!(site.text("SELECT string_agg(DISTINCT state, ',') FROM threadline.export_jobs"), "completed");
    let list = site.see(config.clone(), Visitor::Support, "exports").body;
    assert!(list.contains(&own) && !list.contains(&job), "{list}");
    assert_eq!(site.see(config, Visitor::Support, &format!("exports/file?job={own}")).status, 200);
}

#[test]
fn who_may_not_export_is_offered_none_and_starts_none() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place).authorize_export(async |request: &HttpRequest| {
        let is_admin = request.headers().get("x-visitor").is_some_and(|name| name == "admin");
        Ok(Access::from(is_admin))
    });
    for path in ["exports", "exports/file?job=00000000-0000-7000-8000-000000000000"] {
        assert_eq!(site.see(config.clone(), Visitor::Support, path).status, 403, "{path}");
    }
    let answer = site.post(config.clone(), Visitor::Support, "exports/start", "table=notes");
    assert_eq!(answer.status, 403);
    let left = "threadline export --table=notes --from=24h --all --output export.csv";
    assert!(answer.body.contains(left), "the way that is left: {}", answer.body);
    assert!(log(&site).contains(&"threadline.exports.requested error exports?table=notes".to_owned()));
    let timeline = site.see(config.clone(), Visitor::Support, "timeline").body;
    assert!(!timeline.contains("Export these") && !timeline.contains("./exports"), "{timeline}");
    let timeline = site.see(config, Visitor::Admin, "timeline?table=notes&window=7d").body;
    assert!(timeline.contains("./exports?table=notes&#38;window=7d"), "{timeline}");
    for visitor in [Visitor::Stranger, Visitor::Denied, Visitor::Failing, Visitor::Panicking] {
        let config = with_storage(&site, &place);
        assert_eq!(site.post(config, visitor, "exports/start", "table=notes").status, 403, "{visitor:?}");
    }
    assert_eq!(jobs(&site), "0");
}

#[test]
fn a_job_belongs_to_somebody_who_is_named() {
    let (site, place) = (Site::new(), Place::new());
    let anonymous = with_storage(&site, &place).actor(async |_: &HttpRequest| Ok(Some(Actor::anonymous())));
    let nobody = with_storage(&site, &place).actor(async |_: &HttpRequest| Ok(None));
    for config in [anonymous, nobody] {
        let page = site.see(config.clone(), Visitor::Admin, "exports");
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains("belongs to somebody") && !page.body.contains("exports/start"),
            "{}",
            page.body
        );
        let answer = site.post(config.clone(), Visitor::Admin, "exports/start", "table=notes");
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("belongs to somebody"));
        let some = "00000000-0000-7000-8000-000000000000";
        assert_eq!(site.see(config, Visitor::Admin, &format!("exports/file?job={some}")).status, 404);
    }
    assert_eq!(jobs(&site), "0");
}

#[test]
fn without_a_place_for_files_the_same_is_told_as_a_command() {
    let site = Site::new();
    let page = site.get(Visitor::Admin, "exports?table=notes&actor=user:7&action=it%27s&window=7d");
    assert_eq!(page.status, 200);
    let told = "threadline export --table=notes --actor=user:7 --action=&#39;it&#39;\\&#39;&#39;s&#39; --from=7d --all --output export.csv";
    assert!(page.body.contains(told), "{}", page.body);
    assert!(!page.body.contains("exports/start"));
    let answer = site.post(site.config(), Visitor::Admin, "exports/start", "table=notes");
    assert_eq!(answer.status, 409);
    assert_eq!(jobs(&site), "0");
}

#[test]
fn a_form_of_another_sites_neither_starts_nor_cancels() {
    let (site, place) = (Site::new(), Place::new());
    let job = started(&site.post(with_storage(&site, &place), Visitor::Admin, "exports/start", "window=all"));
    for (path, form) in [("start", "window=all".to_owned()), ("cancel", format!("job={job}"))] {
        for from in [Some("cross-site"), Some("same-site"), Some("none"), None] {
            let request =
                TestRequest::post().uri(&format!("/audit/exports/{path}")).set_payload(form.clone());
            let request = match from {
                Some(from) => request.insert_header(("sec-fetch-site", from)),
                None => request,
            };
            let answer = site.ask(with_storage(&site, &place), Visitor::Admin, request);
            assert_eq!(answer.status, 403, "{path} {from:?}");
        }
        let link = site.see(with_storage(&site, &place), Visitor::Admin, &format!("exports/{path}?{form}"));
        assert_ne!(link.status, 303, "a link does nothing");
    }
    assert_eq!(site.text("SELECT string_agg(state, ',') FROM threadline.export_jobs"), "queued");
}

#[test]
fn what_cannot_be_put_on_record_is_not_done() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place);
    let job =
        started(&site.post(config.clone(), Visitor::Admin, "exports/start", "window=all&format=ndjson"));
    work(&site, &place);
    run(
        &mut site.db.connect(),
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON threadline.audit_actions FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    assert_eq!(site.post(config.clone(), Visitor::Admin, "exports/start", "window=all").status, 500);
    let file = site.see(config, Visitor::Admin, &format!("exports/file?job={job}"));
    assert_eq!(file.status, 500);
    assert!(!file.body.contains("marker-"));
    assert_eq!(jobs(&site), "1");
}

#[test]
fn an_export_is_on_record_even_where_looks_are_not() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place).access_log(false);
    let job = started(&site.post(config.clone(), Visitor::Admin, "exports/start", "window=all"));
    work(&site, &place);
    let page = format!("exports?job={job}");
    assert_eq!(site.see(config.clone(), Visitor::Admin, &page).status, 200);
    assert_eq!(site.see(config, Visitor::Admin, &format!("exports/file?job={job}")).status, 200);
    let requested = "threadline.exports.requested ok exports?window=all".to_owned();
    assert_eq!(log(&site), [requested, format!("threadline.exports.downloaded ok {page}")]);
}

#[test]
fn what_is_wrong_with_a_request_is_named_and_nothing_is_queued() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place);
    for (form, named) in [
        ("colour=red", "<code>colour</code>"),
        ("format=xlsx", "<code>format</code>"),
        ("actor=robot&from=yesterday", "<code>actor</code>"),
        ("table=nothing", "<code>table</code>"),
        ("window=all&window=1h", "<code>window</code>"),
    ] {
        for answer in [
            site.post(config.clone(), Visitor::Admin, "exports/start", form),
            site.see(config.clone(), Visitor::Admin, &format!("exports?{form}")),
        ] {
            assert_eq!(answer.status, 400, "{form}");
            assert!(
                answer.body.contains(named) && answer.body.contains("Nothing was exported"),
                "{form}: {}",
                answer.body
            );
        }
    }
    for path in [
        "exports?job=7",
        "exports?before=x",
        "exports?job=00000000-0000-7000-8000-000000000000&table=notes",
        "exports/file",
    ] {
        assert_eq!(site.see(config.clone(), Visitor::Admin, path).status, 400, "{path}");
    }
    assert_eq!(jobs(&site), "0");
}

#[test]
fn one_sees_how_each_job_stands_and_can_cancel_what_is_not_over() {
    let (site, place) = (Site::new(), Place::new());
    let config = with_storage(&site, &place);
    let conn = &mut site.db.connect();
    let mut queue = |format| {
        let request = ExportRequest::unscoped(ExportOptions::new(format).unlimited());
        exports::enqueue(conn, &request, &Actor::user(1)).unwrap().id.to_string()
    };
    let [queued, running, failed, expired] = [(); 4].map(|()| queue(ExportFormat::Csv));
    queue(ExportFormat::Json);
    let change = |sql: &str| run(&mut site.db.connect(), &format!("UPDATE threadline.export_jobs SET {sql}"));
    change(&format!("due_at = now() + interval '1 hour' WHERE id IN ('{queued}', '{running}', '{failed}')"));
    work(&site, &place);
    change(&format!("due_at = now() - interval '5 minutes' WHERE id = '{queued}'"));
    change(&format!(
        "state = 'running', attempt = 1, attempt_objects = ARRAY['a'], worker = 'w', claimed_at = now(), heartbeat_at = now(), \
         rows_written = 1234, bytes_written = 2048 WHERE id = '{running}'"
    ));
    change(&format!(
        "state = 'failed', attempt = 1, attempt_objects = ARRAY['a'], failures = 1, error = 'storage', finished_at = now() \
         WHERE id = '{failed}'"
    ));
    change(&format!("state = 'expired' WHERE id = '{expired}'"));
    let page = site.see(config.clone(), Visitor::Admin, "exports").body;
    for told in [
        "No worker has taken it yet",
        "1234 changes, 2.0 KiB so far",
        "The storage did not take the file",
        "Its time is over",
        "<dd>2</dd>",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert_eq!(page.matches("exports/file?job=").count(), 1, "only what is ready");
    assert_eq!(page.matches("Cancel</button>").count(), 2, "only what is not over");
    assert_eq!(page.matches("Start anew").count(), 2, "what failed, and what is gone");

    let answer = site.post(config.clone(), Visitor::Admin, "exports/cancel", &format!("job={queued}"));
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, format!("../exports?job={queued}").as_str())
    );
    let page = site.see(config.clone(), Visitor::Admin, &format!("exports?job={queued}")).body;
    assert!(page.contains("It was cancelled") && !page.contains("Cancel</button>"), "{page}");
    for (job, place) in [(&queued, 404), (&running, 303), (&expired, 303)] {
        assert_eq!(
            site.see(config.clone(), Visitor::Admin, &format!("exports/file?job={job}")).status,
            place
        );
    }
}

#[test]
fn pages_of_jobs_put_together_are_all_of_them() {
    let (site, place) = (Site::new(), Place::new());
    let conn = &mut site.db.connect();
    let request = ExportRequest::unscoped(ExportOptions::new(ExportFormat::Csv));
    let mut queued: Vec<String> =
        (0..53).map(|_| exports::enqueue(conn, &request, &Actor::user(1)).unwrap().id.to_string()).collect();
    // Those of one millisecond have no other order.
    queued.sort();
    let config = with_storage(&site, &place);
    let first = site.see(config.clone(), Visitor::Admin, "exports").body;
    let older = |body: &str| Some(body.split("href=\"./exports?before=").nth(1)?[..36].to_owned());
    let second = site.see(config, Visitor::Admin, &format!("exports?before={}", older(&first).unwrap())).body;
    assert_eq!(older(&second), None);
    let shown: Vec<&String> = [&first, &second]
        .into_iter()
        .flat_map(|body| queued.iter().rev().filter(move |id| body.contains(&format!("exports?job={id}\""))))
        .collect();
    assert_eq!(shown, queued.iter().rev().collect::<Vec<_>>());
}
